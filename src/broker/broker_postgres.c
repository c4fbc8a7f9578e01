/* SPDX-License-Identifier: MIT */
/*
 * The PostgreSQL broker: LISTEN and NOTIFY, for who has a PostgreSQL database and wants no further server.
 *
 *   job_updates          the channel of events
 *   job_updates.tokens   the channel of tokens; every listening worker process wakes, claims a job or finds none
 *
 * Channels belong to a database and hold nothing: there is no depth, and dead letters are the error_logs table. A
 * message has at most 8000 bytes there, ours have half of that.
 *
 * Three connections beside those of the database, each for one kind of waiting: one sends (notify_out.h), one listens
 * for tokens, one for events (notify_in.h).
 */
#include "broker/broker_ops.h"

#include "base/log.h"
#include "base/mem.h"
#include "broker/broker_msg.h"
#include "broker/notify_in.h"
#include "broker/notify_out.h"

#include <stdlib.h>
#include <string.h>

enum {
    LINE_OUT = 1,
    LINE_TOKENS = 2,
    LINE_EVENTS = 4,
    CHANNEL_MAX = 63 - 7, /* PostgreSQL's names, less ".tokens" */
    DRAIN_MAX = 1000,
};

static const struct log_ctx lc = {.component = "broker"};

struct postgres_broker {
    struct broker base;
    char *url, *events_channel, *tokens_channel, *listen_events, *listen_tokens;
    struct link link;
    struct notify_out *out;
    struct notify_in tokens, events;
};

static struct postgres_broker *of(struct broker *b)
{
    return CONTAINER_OF(b, struct postgres_broker, base);
}

static void postgres_close(struct broker *b)
{
    struct postgres_broker *p = of(b);
    notify_in_close(&p->tokens);
    notify_in_close(&p->events);
    notify_out_close(p->out);
    link_clear(&p->link);
    free(p->url);
    free(p->events_channel);
    free(p->tokens_channel);
    free(p->listen_events);
    free(p->listen_tokens);
    free(p);
}

/* LISTEN takes a name, not a value. */
static char *make_listen(const char *channel)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(256);
    buf_adds(&b, "SET client_min_messages = warning; LISTEN \"");
    for (const char *c = channel; *c; c++)
        buf_addf(&b, *c == '"' ? "\"\"" : "%c", *c);
    buf_adds(&b, "\"");
    return xstrdup(buf_str(&b));
}

static int postgres_open(const struct broker_opts *opts, const char *rest, struct broker **ret, struct err *err)
{
    (void)rest;
    struct broker_names names;
    struct link_addr addr;
    int rc = pg_check_url(opts->url, err);
    if (rc >= 0)
        rc = link_addr_parse(opts->url, &addr, err);
    if (rc < 0)
        return rc;
    rc = broker_names_init(&names, opts, err);
    if (rc < 0) {
        link_addr_clear(&addr);
        return rc;
    }
    const char *channel = names.name[BROKER_EVENTS];
    if (strlen(channel) > CHANNEL_MAX) {
        rc = err_set(err, ERR_INVALID, "with PostgreSQL as broker, events_channel can have at most %d bytes",
                     CHANNEL_MAX);
        link_addr_clear(&addr);
        broker_names_clear(&names);
        return rc;
    }
    struct postgres_broker *p = xcalloc(1, sizeof *p);
    p->url = xstrdup(opts->url);
    p->events_channel = xstrdup(channel);
    p->tokens_channel = xasprintf("%s.tokens", channel);
    p->listen_events = make_listen(p->events_channel);
    p->listen_tokens = make_listen(p->tokens_channel);
    link_init(&p->link, addr.label);
    link_addr_clear(&addr);
    broker_names_clear(&names);
    p->tokens.waiter.wake = p->events.waiter.wake = -1;
    rc = notify_out_open(p->url, &p->link, LINE_OUT, &p->out, err);
    p->tokens = (struct notify_in){
        .url = p->url, .listen = opts->tokens ? p->listen_tokens : NULL, .out = p->out, .waiter.wake = -1};
    p->events = (struct notify_in){
        .url = p->url, .listen = opts->events ? p->listen_events : NULL, .out = p->out, .waiter.wake = -1};
    line_init(&p->tokens.line, &p->link, LINE_TOKENS);
    line_init(&p->events.line, &p->link, LINE_EVENTS);
    if (rc >= 0)
        rc = notify_in_open(&p->tokens, err);
    if (rc >= 0)
        rc = notify_in_open(&p->events, err);
    if (rc < 0) {
        postgres_close(&p->base);
        return rc;
    }
    *ret = &p->base;
    return 0;
}

static int postgres_send_token(struct broker *b, const char *queue, const char *body, size_t len, struct err *err)
{
    (void)len; /* without NUL, and NUL behind it */
    enum broker_name q;
    int rc = broker_queue_parse(queue, &q, err);
    return rc < 0 ? rc : notify_out_send(of(b)->out, of(b)->tokens_channel, body, err);
}

static int postgres_send_event(struct broker *b, const char *msg, size_t len, struct err *err)
{
    (void)len;
    return notify_out_post(of(b)->out, of(b)->events_channel, msg, err);
}

static int postgres_wait(struct broker *b, int64_t timeout_ms, struct err *err)
{
    struct postgres_broker *p = of(b);
    const char *text;
    int rc = notify_in_next(&p->tokens, waiter_deadline(timeout_ms), true, &text, err);
    if (rc <= 0)
        return rc;
    /* All that is there is one wake-up. */
    struct err ignored = ERR_INIT;
    for (int i = 0; i < DRAIN_MAX && p->tokens.l && pg_notice(p->tokens.l, &text, &ignored) == 1; i++)
        ;
    return 1;
}

static void postgres_interrupt(struct broker *b)
{
    waiter_wake(&of(b)->tokens.waiter);
    waiter_wake(&of(b)->events.waiter);
}

static int postgres_next_event(struct broker *b, int64_t timeout_ms, struct event *ret, struct err *err)
{
    int64_t until = waiter_deadline(timeout_ms);
    for (;;) {
        const char *text;
        int rc = notify_in_next(&of(b)->events, until, false, &text, err);
        if (rc <= 0)
            return rc;
        if (text && broker_event_decode(text, strlen(text), ret))
            return 1;
        if (text)
            log_debug(&lc, "dropped a malformed event of %zu bytes", strlen(text));
    }
}

static int postgres_ping(struct broker *b, struct err *err)
{
    int rc = notify_out_ping(of(b)->out, err);
    return rc < 0 ? rc : link_check(&of(b)->link, err);
}

const struct broker_ops broker_postgres_ops = {
    .scheme = "postgresql",
    .open = postgres_open,
    .close = postgres_close,
    .send_token = postgres_send_token,
    .send_event = postgres_send_event,
    .wait = postgres_wait,
    .interrupt = postgres_interrupt,
    .next_event = postgres_next_event,
    .ping = postgres_ping,
};
