/* SPDX-License-Identifier: MIT */
/*
 * A subscription only ever hears: that the server is gone shows by silence. So after PING_MS without a message it is
 * asked, and has LINK_PATIENCE_MS for an answer.
 */
#include "broker/redis_sub.h"

#include "base/clock.h"
#include "base/log.h"
#include "broker/broker_msg.h"

#include <string.h>

enum { PING_MS = 5000, LOOK_MS = 200, MESSAGE_MAX = 1 << 20 };

static const struct log_ctx lc = {.component = "broker"};

static void heard(struct redis_sub *s)
{
    s->ping_at = clock_mono_ms() + PING_MS;
    s->heard_by = 0;
}

static int try_connect(struct redis_sub *s, struct err *err)
{
    redisContext *c = NULL;
    int rc = redis_open(s->addr, &c, err);
    if (rc < 0)
        return rc;
    redisReply *r = redisCommand(c, "SUBSCRIBE %s", s->channel);
    rc = r ? redis_check(s->addr, r, err) : redis_lost(s->addr, c, err);
    if (r)
        freeReplyObject(r);
    if (rc < 0) {
        redisFree(c);
        return rc;
    }
    s->c = c;
    heard(s);
    return 0;
}

/* The other connection finds out when the server is back, without holding up anybody. */
static void connect_when_due(struct redis_sub *s)
{
    struct err err = ERR_INIT;
    if (line_due_ms(&s->line) > 0 || !redis_pipe_is_up(s->pipe))
        return;
    if (try_connect(s, &err) < 0)
        line_down(&s->line, &err);
    else
        line_up(&s->line);
}

/* ["message", channel, text]; others are answers to SUBSCRIBE and PING. */
static bool decode(const redisReply *r, struct event *ret)
{
    if (r->type != REDIS_REPLY_ARRAY || r->elements != 3 || !r->element[0]->str || !r->element[2]->str ||
        strcmp(r->element[0]->str, "message") != 0)
        return false;
    if (broker_event_decode(r->element[2]->str, r->element[2]->len, ret))
        return true;
    log_debug(&lc, "dropped a malformed event of %zu bytes", r->element[2]->len);
    return false;
}

/* The next event among what was read. 1, 0: none. */
static int take_event(struct redis_sub *s, struct event *ret, struct err *err)
{
    for (;;) {
        redisReply *r = NULL;
        if (redisGetReplyFromReader(s->c, (void **)&r) != REDIS_OK)
            return redis_lost(s->addr, s->c, err);
        if (!r && s->c->reader->len > MESSAGE_MAX)
            return err_set(err, ERR_UNAVAILABLE, "a message of over a megabyte came over the channel of events");
        if (!r)
            return 0;
        int rc = redis_check(s->addr, r, err);
        bool got = rc >= 0 && decode(r, ret);
        freeReplyObject(r);
        if (rc < 0 || got)
            return rc < 0 ? rc : 1;
    }
}

static int ask_for_life(struct redis_sub *s, struct err *err)
{
    int sent = 0;
    redisAppendCommand(s->c, "PING");
    while (!sent)
        if (redisBufferWrite(s->c, &sent) != REDIS_OK)
            return redis_lost(s->addr, s->c, err);
    s->heard_by = clock_mono_ms() + LINK_PATIENCE_MS;
    return 0;
}

/* Waits with a connection. 1: an event, 0: none; *ret_over: the wait is over. */
static int wait_connected(struct redis_sub *s, int64_t until, struct event *ret, bool *ret_over, struct err *err)
{
    int rc = take_event(s, ret, err);
    if (rc != 0)
        return rc;
    int64_t look = s->heard_by ? s->heard_by : s->ping_at;
    rc = waiter_wait(&s->waiter, s->c->fd, false, MIN(until, look), err);
    if (rc == WAITER_READABLE) {
        heard(s);
        return redisBufferRead(s->c) == REDIS_OK ? 0 : redis_lost(s->addr, s->c, err);
    }
    if (rc == WAITER_TIME && look < until)
        return s->heard_by ? err_set(err, ERR_UNAVAILABLE, "the broker %s does not answer", s->addr->url.label)
                           : ask_for_life(s, err);
    *ret_over = true;
    return rc < 0 ? rc : 0;
}

/* Waits without one, for a while. */
static int wait_alone(struct redis_sub *s, int64_t until, bool *ret_over, struct err *err)
{
    int64_t look = s->listen ? MIN(until, clock_mono_ms() + LOOK_MS) : until;
    int rc = waiter_wait(&s->waiter, -1, false, look, err);
    *ret_over = rc != WAITER_TIME || look == until;
    return rc < 0 ? rc : 0;
}

int redis_sub_open(struct redis_sub *s, bool listen, struct err *err)
{
    s->listen = listen;
    int rc = waiter_open(&s->waiter, err);
    if (rc < 0 || !listen)
        return rc;
    connect_when_due(s);
    struct err why = ERR_INIT;
    if (!s->c && !s->line.pause_ms && link_check(s->line.link, &why) < 0)
        line_down(&s->line, &why); /* as the first connection is; it counts as away until it is made */
    return 0;
}

void redis_sub_close(struct redis_sub *s)
{
    if (s->c)
        redisFree(TAKE(s->c));
    waiter_close(&s->waiter);
}

int redis_sub_next(struct redis_sub *s, int64_t timeout_ms, struct event *ret, struct err *err)
{
    int64_t until = waiter_deadline(timeout_ms);
    for (bool over = false; !over;) {
        struct err why = ERR_INIT;
        if (s->listen && !s->c)
            connect_when_due(s);
        int rc = s->c ? wait_connected(s, until, ret, &over, &why) : wait_alone(s, until, &over, &why);
        if (rc == 1)
            return 1;
        if (rc < 0 && !s->c) {
            *err = why;
            return rc;
        }
        if (rc < 0) {
            redisFree(TAKE(s->c));
            line_down(&s->line, &why);
        }
    }
    return 0;
}
