/* SPDX-License-Identifier: MIT */
/*
 * The Redis broker: a list of tokens per queue, a list of dead letters, a channel of events.
 *
 *   transcription.high, .normal, .retry   RPUSH by who submits; BLPOP and LPOP by workers (redis_take.h, which also
 *                                         says why no token is lost and none piles up). LLEN is the depth.
 *   transcription.dlq                     RPUSH; the newest DEAD_MAX are kept, nobody here takes them
 *   job_updates                           PUBLISH and SUBSCRIBE (redis_sub.h)
 *
 * Three connections, each for one kind of waiting: the pipe (redis_pipe.h) for all that is sent and asked, from any
 * thread; one that blocks in BLPOP; one that is subscribed. The pipe alone probes a server that is away; the other two
 * follow it. In an outage sending fails at once, and the two waits just wait.
 *
 * A token is sent when the server has said so: else its job counts as not announced. Events, and tokens used up, are
 * posted: the sender does not wait for an answer; a loss shows on the link.
 */
#include "broker/broker_ops.h"

#include "base/mem.h"
#include "broker/redis_sub.h"
#include "broker/redis_take.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define DEAD_FROM "-10000"

enum { LINE_PIPE = 1, LINE_REFUSAL = 2, LINE_TAKE = 4, LINE_SUB = 8 };

struct redis_broker {
    struct broker base;
    struct redis_addr addr;
    struct broker_names names;
    char *probe; /* a key that never exists */
    struct link link;
    struct redis_pipe *pipe;
    struct redis_take take;
    struct redis_sub sub;
};

static struct redis_broker *of(struct broker *b)
{
    return CONTAINER_OF(b, struct redis_broker, base);
}

static void redis_broker_close(struct broker *b)
{
    struct redis_broker *r = of(b);
    redis_sub_close(&r->sub);
    redis_take_close(&r->take);
    redis_pipe_close(r->pipe);
    link_clear(&r->link);
    free(r->probe);
    broker_names_clear(&r->names);
    redis_addr_clear(&r->addr);
    free(r);
}

static int redis_broker_open(const struct broker_opts *opts, const char *rest, struct broker **ret, struct err *err)
{
    (void)rest;
    static const unsigned bits[] = {LINE_PIPE, LINE_REFUSAL};
    struct redis_broker *r = xcalloc(1, sizeof *r);
    int n_from = broker_take_parse(opts, r->take.from, err);
    int rc = n_from < 0 ? n_from : redis_addr_parse(opts->url, &r->addr, err);
    if (rc >= 0 && (rc = broker_names_init(&r->names, opts, err)) < 0)
        redis_addr_clear(&r->addr);
    if (rc < 0) {
        free(r);
        return rc;
    }
    r->probe = xasprintf("%s.probe", r->names.name[BROKER_DEAD]);
    link_init(&r->link, r->addr.url.label);
    r->take.addr = &r->addr;
    r->take.names = &r->names;
    r->take.waiter.wake = -1;
    r->take.n_from = n_from;
    r->sub = (struct redis_sub){.addr = &r->addr, .channel = r->names.name[BROKER_EVENTS], .waiter.wake = -1};
    line_init(&r->take.line, &r->link, LINE_TAKE);
    line_init(&r->sub.line, &r->link, LINE_SUB);
    rc = redis_pipe_open(&r->addr, &r->link, bits, &r->pipe, err);
    r->take.pipe = r->sub.pipe = r->pipe;
    if (rc >= 0)
        rc = redis_take_open(&r->take, opts->tokens, err);
    if (rc >= 0)
        rc = redis_sub_open(&r->sub, opts->events, err);
    if (rc < 0) {
        redis_broker_close(&r->base);
        return rc;
    }
    *ret = &r->base;
    return 0;
}

/* The name of the list that holds this queue; NULL: no such queue. */
static const char *list_of(struct redis_broker *r, const char *queue, struct err *err)
{
    enum broker_name q;
    return broker_queue_parse(queue, &q, err) < 0 ? NULL : r->names.name[q];
}

static int redis_send_token(struct broker *b, const char *queue, const char *body, size_t len, struct err *err)
{
    struct redis_broker *r = of(b);
    const char *list = list_of(r, queue, err);
    const struct redis_args push = {3, {"RPUSH", list, body}, {0, 0, len}};
    return list ? redis_pipe_store(r->pipe, &push, err) : err->code;
}

static int redis_send_event(struct broker *b, const char *msg, size_t len, struct err *err)
{
    struct redis_broker *r = of(b);
    const struct redis_args publish = {3, {"PUBLISH", r->names.name[BROKER_EVENTS], msg}, {0, 0, len}};
    return redis_pipe_post(r->pipe, &publish, err);
}

static int redis_send_dead_letter(struct broker *b, const char *body, size_t len, struct err *err)
{
    struct redis_broker *r = of(b);
    const struct redis_args push = {3, {"RPUSH", r->names.name[BROKER_DEAD], body}, {0, 0, len}};
    const struct redis_args trim = {4, {"LTRIM", r->names.name[BROKER_DEAD], DEAD_FROM, "-1"}, {0}};
    int rc = redis_pipe_store(r->pipe, &push, err);
    return rc < 0 ? rc : redis_pipe_post(r->pipe, &trim, err);
}

static int redis_wait(struct broker *b, int64_t timeout_ms, struct err *err)
{
    return redis_take_wait(&of(b)->take, timeout_ms, err);
}

static void redis_taken(struct broker *b, const char *queue)
{
    struct err err = ERR_INIT;
    enum broker_name q;
    if (broker_queue_parse(queue, &q, &err) >= 0)
        redis_take_used(&of(b)->take, q);
}

static void redis_interrupt(struct broker *b)
{
    waiter_wake(&of(b)->take.waiter);
    waiter_wake(&of(b)->sub.waiter);
}

static int redis_next_event(struct broker *b, int64_t timeout_ms, struct event *ret, struct err *err)
{
    return redis_sub_next(&of(b)->sub, timeout_ms, ret, err);
}

static int redis_depth(struct broker *b, const char *queue, int64_t *ret, struct err *err)
{
    struct redis_broker *r = of(b);
    const char *list = list_of(r, queue, err);
    const struct redis_args llen = {2, {"LLEN", list}, {0}};
    return list ? redis_pipe_call(r->pipe, &llen, ret, err) : err->code;
}

/* By the end that is consumed: tokens come in at the other one, also between these two commands. */
static int redis_trim(struct broker *b, const char *queue, int64_t surplus, int64_t keep, struct err *err)
{
    struct redis_broker *r = of(b);
    int64_t depth = 0;
    int rc = redis_depth(b, queue, &depth, err);
    surplus = MIN(surplus, depth - keep);
    if (rc < 0 || surplus <= 0)
        return rc;
    char from[24];
    snprintf(from, sizeof from, "%" PRId64, surplus);
    const struct redis_args trim = {4, {"LTRIM", list_of(r, queue, err), from, "-1"}, {0}};
    return redis_pipe_call(r->pipe, &trim, NULL, err);
}

/* Would a token be taken? RPUSHX on a missing list changes nothing, but is refused when writing is. */
static int redis_ping(struct broker *b, struct err *err)
{
    struct redis_broker *r = of(b);
    const struct redis_args probe = {3, {"RPUSHX", r->probe, "probe"}, {0}};
    int rc = redis_pipe_store(r->pipe, &probe, err);
    return rc < 0 ? rc : link_check(&r->link, err);
}

const struct broker_ops broker_redis_ops = {
    .scheme = "redis",
    .open = redis_broker_open,
    .close = redis_broker_close,
    .send_token = redis_send_token,
    .send_event = redis_send_event,
    .send_dead_letter = redis_send_dead_letter,
    .wait = redis_wait,
    .taken = redis_taken,
    .interrupt = redis_interrupt,
    .next_event = redis_next_event,
    .depth = redis_depth,
    .trim = redis_trim,
    .ping = redis_ping,
};
