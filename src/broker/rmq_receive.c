/* SPDX-License-Identifier: MIT */
/*
 * Three channels: EVENTS with the subscription to the exchange, TOKENS with a consumer on each queue that is ours, DROP
 * for removing tokens whose jobs were found without them.
 *
 * Events come through a queue of this process alone: exclusive, so that the server removes it with the connection, and
 * of bounded length, so that a process that hangs costs the server little.
 *
 * Tokens are only wanted while somebody waits for one: a busy worker must keep none from others, and must not hold one
 * until the server's consumer time-out closes the channel. Each consumer gets one token at a time (prefetch), and when
 * nobody comes for what was delivered, the channel is closed: that gives all of it back. The next wait opens it again.
 */
#include "broker/rmq_receive.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "broker/broker_msg.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EVENTS = 1, TOKENS = 2, DROP = 3, EVENTS_KEPT = 10000 };

static const struct log_ctx lc = {.component = "broker"};

struct rmq_receiver {
    struct rmq_receiver_opts o;
    struct line line;
    struct rmq_conn conn;
    pthread_t thread;

    /* Of the thread: */
    bool consuming;    /* TOKENS is open */
    size_t event_left; /* bytes that are still to come of the event in `event`; 0: none is under way */
    struct buf event;

    pthread_mutex_t mu;
    pthread_cond_t tried;
    /* guarded by mu: */
    bool stopping, ended, tried_once;
};

/* ---- subscribing ---- */

static int subscribe_to_events(struct rmq_receiver *r, struct err *err)
{
    amqp_table_entry_t limits[] = {
        {amqp_cstring_bytes("x-max-length"), {.kind = AMQP_FIELD_KIND_I32, .value = {.i32 = EVENTS_KEPT}}},
        {amqp_cstring_bytes("x-overflow"),
         {.kind = AMQP_FIELD_KIND_UTF8, .value = {.bytes = amqp_cstring_bytes("drop-head")}}},
    };
    amqp_table_t args = {.num_entries = ARRAY_LEN(limits), .entries = limits};
    amqp_connection_state_t c = r->conn.c;
    char name[RMQ_NAME_MAX + 1] = "";
    int code;
    amqp_queue_declare_ok_t *made = amqp_queue_declare(c, EVENTS, amqp_empty_bytes, 0, 0, 1, 1, args);
    int rc = rmq_conn_reply(&r->conn, EVENTS, amqp_get_rpc_reply(c), "making a queue for events", &code, err);
    if (rc < 0)
        return rc;
    memcpy(name, made->queue.bytes, MIN(made->queue.len, sizeof name - 1));
    amqp_bytes_t queue = amqp_cstring_bytes(name);
    amqp_queue_bind(c, EVENTS, queue, amqp_cstring_bytes(r->o.names->n.name[BROKER_EVENTS]), amqp_empty_bytes,
                    amqp_empty_table);
    rc = rmq_conn_reply(&r->conn, EVENTS, amqp_get_rpc_reply(c), "binding the queue for events", &code, err);
    if (rc < 0)
        return rc;
    amqp_basic_consume(c, EVENTS, queue, amqp_cstring_bytes("events"), 0, 1, 1, amqp_empty_table);
    return rmq_conn_reply(&r->conn, EVENTS, amqp_get_rpc_reply(c), "subscribing to events", &code, err);
}

/* The consumer's tag is the number of its queue. */
static int start_consuming(struct rmq_receiver *r, struct err *err)
{
    amqp_connection_state_t c = r->conn.c;
    int code;
    int rc = rmq_conn_channel(&r->conn, TOKENS, err);
    if (rc < 0)
        return rc;
    amqp_basic_qos(c, TOKENS, 0, 1, 0);
    rc = rmq_conn_reply(&r->conn, TOKENS, amqp_get_rpc_reply(c), "setting the prefetch count", &code, err);
    for (int i = 0; rc == 0 && i < r->o.n_from; i++) {
        enum broker_name q = r->o.from[i];
        char tag[2] = {(char)('0' + (int)q), '\0'};
        amqp_basic_consume(c, TOKENS, amqp_cstring_bytes(r->o.names->n.name[q]), amqp_cstring_bytes(tag), 0, 0, 0,
                           amqp_empty_table);
        rc = rmq_conn_reply(&r->conn, TOKENS, amqp_get_rpc_reply(c), "consuming from a queue", &code, err);
    }
    r->consuming = rc == 0;
    return rc;
}

/* Deliveries that crossed the close are among the frames that wait now: they are passed over while not consuming. */
static int stop_consuming(struct rmq_receiver *r, struct err *err)
{
    int code;
    r->consuming = false;
    rmq_inbox_tokens_lost(r->o.inbox);
    return rmq_conn_reply(&r->conn, TOKENS, amqp_channel_close(r->conn.c, TOKENS, AMQP_REPLY_SUCCESS),
                          "giving tokens back", &code, err);
}

static int set_up(struct rmq_receiver *r, struct err *err)
{
    int rc = rmq_conn_open(&r->conn, r->o.address, "steno: receives", err);
    if (rc < 0)
        return rc;
    rc = rmq_conn_channel(&r->conn, EVENTS, err);
    if (rc == 0)
        rc = rmq_names_declare(r->o.names, &r->conn, EVENTS, err);
    if (rc == 0 && r->o.events)
        rc = subscribe_to_events(r, err);
    if (rc == 0 && r->o.tokens)
        rc = rmq_conn_channel(&r->conn, DROP, err);
    if (rc < 0)
        rmq_conn_close(&r->conn, false);
    return rc;
}

/* ---- frames ---- */

static int on_token(struct rmq_receiver *r, const amqp_basic_deliver_t *m, struct err *err)
{
    const char *tag = m->consumer_tag.bytes;
    if (!r->consuming)
        return 0;
    if (m->consumer_tag.len != 1 || *tag < '0' || *tag >= '0' + RMQ_TOKEN_QUEUES || m->delivery_tag == 0 ||
        !rmq_inbox_token(r->o.inbox, (enum broker_name)(*tag - '0'), m->delivery_tag))
        return err_set(err, ERR_UNAVAILABLE, "RabbitMQ delivers what was not asked for");
    return 0;
}

/* Not known to be given back in time, so it may be the server's time-out for consumers (406), after this process was
 * stopped for long. The tokens are the server's again; the next wait consumes again. */
static int on_channel_closed(struct rmq_receiver *r, const amqp_frame_t *f, struct err *err)
{
    int code;
    int rc = rmq_conn_channel_closed(&r->conn, f, &code, err);
    if (f->channel != TOKENS || code != AMQP_PRECONDITION_FAILED)
        return rc;
    log_warn(&lc, "%s: taking tokens again", err->msg);
    r->consuming = false;
    rmq_inbox_tokens_lost(r->o.inbox);
    rmq_inbox_wake(r->o.inbox);
    return 0;
}

static int on_method(struct rmq_receiver *r, const amqp_frame_t *f, struct err *err)
{
    switch (f->payload.method.id) {
    case AMQP_BASIC_DELIVER_METHOD:
        return f->channel == TOKENS ? on_token(r, f->payload.method.decoded, err) : 0;
    case AMQP_BASIC_CANCEL_METHOD:
        return err_set(err, ERR_UNAVAILABLE, "a queue is gone from RabbitMQ; it is made again");
    case AMQP_CHANNEL_CLOSE_METHOD:
        return on_channel_closed(r, f, err);
    default:
        return 0;
    }
}

/* The body of an event comes in pieces; what is too large to be one of ours is passed over. */
static void on_content(struct rmq_receiver *r, const amqp_frame_t *f)
{
    if (f->channel != EVENTS)
        return;
    if (f->frame_type == AMQP_FRAME_HEADER) {
        buf_reset(&r->event);
        r->event_left = f->payload.properties.body_size;
        return;
    }
    amqp_bytes_t piece = f->payload.body_fragment;
    buf_add(&r->event, piece.bytes, piece.len);
    r->event_left -= MIN(piece.len, r->event_left);
    if (r->event_left == 0 && buf_ok(&r->event))
        rmq_inbox_event(r->o.inbox, buf_str(&r->event), r->event.len);
}

static int read_frames(struct rmq_receiver *r, struct err *err)
{
    amqp_frame_t f;
    int rc;
    while ((rc = rmq_conn_next(&r->conn, &f, err)) > 0) {
        if (f.frame_type == AMQP_FRAME_METHOD) {
            rc = on_method(r, &f, err);
            if (rc < 0)
                return rc;
        } else if (f.frame_type == AMQP_FRAME_HEADER || f.frame_type == AMQP_FRAME_BODY) {
            on_content(r, &f);
        }
    }
    if (rc == 0)
        rmq_conn_drained(&r->conn);
    return rc;
}

/* ---- the thread ---- */

static int acknowledge(struct rmq_receiver *r, const struct rmq_chores *todo, struct err *err)
{
    int rc = 0;
    for (int q = 0; rc == 0 && q < RMQ_TOKEN_QUEUES; q++)
        if (todo->ack[q])
            rc = rmq_conn_status(amqp_basic_ack(r->conn.c, TOKENS, todo->ack[q], 0), "acknowledging a token", err);
    return rc;
}

/* Nobody looks at the answers: who finds none to remove has removed them all. */
static int drop_tokens(struct rmq_receiver *r, const struct rmq_chores *todo, struct err *err)
{
    int rc = 0;
    for (int q = 0; rc == 0 && q < RMQ_TOKEN_QUEUES; q++) {
        amqp_basic_get_t get = {.queue = amqp_cstring_bytes(r->o.names->n.name[q]), .no_ack = 1};
        for (unsigned i = 0; rc == 0 && i < todo->drop[q]; i++)
            rc = rmq_conn_status(amqp_send_method(r->conn.c, DROP, AMQP_BASIC_GET_METHOD, &get), "removing a token",
                                 err);
    }
    return rc;
}

static int do_chores(struct rmq_receiver *r, const struct rmq_chores *todo, struct err *err)
{
    if (!r->o.tokens)
        return 0;
    int rc = r->consuming ? acknowledge(r, todo, err) : 0;
    /* The server may have closed the channel meanwhile: then there is nothing to give back. */
    if (rc == 0 && r->consuming && todo->give_back)
        rc = read_frames(r, err);
    if (rc == 0 && r->consuming && todo->give_back)
        rc = stop_consuming(r, err);
    if (rc == 0)
        rc = drop_tokens(r, todo, err);
    return rc;
}

static bool is_stopping(struct rmq_receiver *r)
{
    pthread_mutex_lock(&r->mu);
    bool stopping = r->stopping;
    pthread_mutex_unlock(&r->mu);
    return stopping;
}

/* Frames are read before each sleep: some may have come with the answer to a call. */
static int serve(struct rmq_receiver *r, struct err *err)
{
    struct rmq_chores todo;
    int rc = 0;
    while (rc == 0 && !is_stopping(r)) {
        rmq_inbox_chores(r->o.inbox, &todo);
        rc = do_chores(r, &todo, err);
        if (rc == 0)
            rc = read_frames(r, err);
        if (rc == 0 && r->o.tokens && !r->consuming && todo.somebody_waits) {
            rc = start_consuming(r, err);
            if (rc == 0)
                rc = read_frames(r, err);
        }
        struct pollfd fds[] = {{.fd = r->conn.fd, .events = POLLIN},
                               {.fd = rmq_inbox_fd(r->o.inbox), .events = POLLIN}};
        if (rc == 0 && poll(fds, ARRAY_LEN(fds), (int)MIN(todo.expect_ms, RMQ_TICK_MS)) < 0 && errno != EINTR)
            rc = err_set(err, ERR_UNAVAILABLE, "waiting for RabbitMQ failed");
    }
    if (rc < 0)
        return rc;
    rmq_inbox_last_chores(r->o.inbox, &todo);
    return do_chores(r, &todo, err);
}

static void set_tried(struct rmq_receiver *r)
{
    pthread_mutex_lock(&r->mu);
    r->tried_once = true;
    pthread_cond_broadcast(&r->tried);
    pthread_mutex_unlock(&r->mu);
}

static void rest(struct rmq_receiver *r)
{
    int64_t ms;
    while (!is_stopping(r) && (ms = line_due_ms(&r->line)) > 0) {
        struct rmq_chores none;
        struct pollfd fd = {.fd = rmq_inbox_fd(r->o.inbox), .events = POLLIN};
        if (poll(&fd, 1, (int)ms) > 0)
            rmq_inbox_chores(r->o.inbox, &none);
    }
}

static void *receiver_main(void *arg)
{
    struct rmq_receiver *r = arg;
    while (!is_stopping(r)) {
        struct err err = ERR_INIT;
        int rc = set_up(r, &err);
        if (rc == 0) {
            line_up(&r->line);
            set_tried(r);
            rc = serve(r, &err);
            rmq_conn_close(&r->conn, rc == 0);
        }
        rmq_inbox_tokens_lost(r->o.inbox);
        r->consuming = false;
        if (rc < 0) {
            line_down(&r->line, &err);
            set_tried(r);
            rest(r);
        }
    }
    pthread_mutex_lock(&r->mu);
    r->ended = true;
    pthread_cond_broadcast(&r->tried);
    pthread_mutex_unlock(&r->mu);
    return NULL;
}

int rmq_receiver_new(const struct rmq_receiver_opts *o, struct rmq_receiver **ret, struct err *err)
{
    struct rmq_receiver *r = xcalloc(1, sizeof *r);
    r->o = *o;
    line_init(&r->line, o->link, 1U << 1);
    rmq_conn_init(&r->conn);
    buf_init(&r->event, BROKER_MSG_MAX);
    pthread_mutex_init(&r->mu, NULL);
    cond_init(&r->tried);
    int rc = thread_start(&r->thread, "rmq-receive", receiver_main, r, err);
    if (rc < 0) {
        r->ended = true;
        rmq_receiver_free(r);
        return rc;
    }
    *ret = r;
    return 0;
}

void rmq_receiver_settle(struct rmq_receiver *r, int64_t until)
{
    int64_t left;
    pthread_mutex_lock(&r->mu);
    while (!r->tried_once && (left = until - clock_mono_ms()) > 0)
        cond_wait_ms(&r->tried, &r->mu, left);
    pthread_mutex_unlock(&r->mu);
}

void rmq_receiver_free(struct rmq_receiver *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->mu);
    bool started = !r->ended;
    int64_t until = clock_mono_ms() + 2 * LINK_PATIENCE_MS, left;
    r->stopping = true;
    rmq_inbox_wake(r->o.inbox);
    while (!r->ended && (left = until - clock_mono_ms()) > 0)
        cond_wait_ms(&r->tried, &r->mu, left);
    if (!r->ended) /* it hangs in a call to a server that does not answer */
        rmq_conn_abort(&r->conn);
    pthread_mutex_unlock(&r->mu);
    if (started)
        pthread_join(r->thread, NULL);
    rmq_conn_clear(&r->conn);
    buf_clear(&r->event);
    pthread_cond_destroy(&r->tried);
    pthread_mutex_destroy(&r->mu);
    free(r);
}
