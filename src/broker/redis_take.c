/* SPDX-License-Identifier: MIT */
/*
 * One BLPOP on all queues that are ours is under way while the worker waits, and none when it does not: a token that
 * came for a busy worker would lie in its socket. So a wait that ends without a token calls the BLPOP off (CLIENT
 * UNBLOCK over the other connection) and reads its answer, which may be a token after all.
 *
 * BLPOP itself ends every BLOCK_S seconds: a server that does not even say "nothing" is not there any more.
 */
#include "broker/redis_take.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_S "5"
enum { BLOCK_MS = 5000, LOOK_MS = 200, UNBLOCK_MS = 2, TOKEN_BYTES_MAX = 1 << 20 };

static const struct log_ctx lc = {.component = "broker"};

static void drop_hand(struct redis_take *t)
{
    free(TAKE(t->hand));
}

/* To the front: it was the next. */
static void give_back(struct redis_take *t)
{
    struct err err = ERR_INIT;
    if (!t->hand)
        return;
    const struct redis_args push = {3, {"LPUSH", t->names->name[t->queue], t->hand}, {0, 0, t->hand_len}};
    if (redis_pipe_post(t->pipe, &push, &err) < 0)
        log_debug(&lc, "a token was not given back: %s", err.msg);
    drop_hand(t);
}

static void disconnect(struct redis_take *t, const struct err *why)
{
    redisFree(TAKE(t->c));
    t->asked = false;
    line_down(&t->line, why);
}

/* What the server calls this connection: to call a BLPOP off. */
static int ask_id(struct redis_take *t, redisContext *c, struct err *err)
{
    redisReply *r = redisCommand(c, "CLIENT ID");
    if (!r)
        return redis_lost(t->addr, c, err);
    int rc = redis_check(t->addr, r, err);
    snprintf(t->id, sizeof t->id, "%lld", r->integer);
    freeReplyObject(r);
    return rc;
}

static int try_connect(struct redis_take *t, struct err *err)
{
    redisContext *c = NULL;
    int rc = redis_open(t->addr, &c, err);
    if (rc < 0)
        return rc;
    rc = ask_id(t, c, err);
    if (rc < 0) {
        redisFree(c);
        return rc;
    }
    t->c = c;
    return 0;
}

/* The other connection finds out when the server is back, without holding up anybody. */
static void connect_when_due(struct redis_take *t)
{
    struct err err = ERR_INIT;
    if (line_due_ms(&t->line) > 0 || !redis_pipe_is_up(t->pipe))
        return;
    if (try_connect(t, &err) < 0)
        line_down(&t->line, &err);
    else
        line_up(&t->line);
}

static int ask(struct redis_take *t, struct err *err)
{
    const char *args[BROKER_QUEUES + 2] = {"BLPOP"};
    int sent = 0, n = 1;
    for (int i = 0; i < t->n_from; i++)
        args[n++] = t->names->name[t->from[i]];
    args[n++] = BLOCK_S;
    redisAppendCommandArgv(t->c, n, args, NULL);
    while (!sent)
        if (redisBufferWrite(t->c, &sent) != REDIS_OK)
            return redis_lost(t->addr, t->c, err);
    t->asked = true;
    t->answer_by = clock_mono_ms() + BLOCK_MS + LINK_PATIENCE_MS;
    return 0;
}

/* [list, token] or nil. 1: a token is at hand, 0: none. */
static int take(struct redis_take *t, const redisReply *r, struct err *err)
{
    int rc = redis_check(t->addr, r, err);
    if (rc < 0 || r->type != REDIS_REPLY_ARRAY || r->elements != 2 || !r->element[0]->str || !r->element[1]->str)
        return rc;
    t->queue = BROKER_NORMAL;
    for (enum broker_name q = BROKER_HIGH; q <= BROKER_RETRY; q++)
        if (strcmp(r->element[0]->str, t->names->name[q]) == 0)
            t->queue = q;
    t->hand_len = r->element[1]->len;
    t->hand = malloc(t->hand_len + 1);
    if (t->hand)
        memcpy(t->hand, r->element[1]->str, t->hand_len + 1);
    return 1;
}

/* The socket is readable. 1: a token, 0: the answer is nil or not whole yet. */
static int read_answer(struct redis_take *t, struct err *err)
{
    redisReply *r = NULL;
    if (redisBufferRead(t->c) != REDIS_OK || redisGetReplyFromReader(t->c, (void **)&r) != REDIS_OK)
        return redis_lost(t->addr, t->c, err);
    if (!r)
        return t->c->reader->len > TOKEN_BYTES_MAX
                   ? err_set(err, ERR_UNAVAILABLE, "the broker holds a token of over a megabyte")
                   : 0;
    t->asked = false;
    int rc = take(t, r, err);
    freeReplyObject(r);
    return rc;
}

static int no_answer(const struct redis_take *t, struct err *err)
{
    return err_set(err, ERR_UNAVAILABLE, "the broker %s does not answer", t->addr->url.label);
}

/* Ends the BLPOP under way. 1: a token came all the same. */
static int call_off(struct redis_take *t, struct err *err)
{
    const struct redis_args unblock = {3, {"CLIENT", "UNBLOCK", t->id}, {0}};
    int64_t until = clock_mono_ms() + LINK_PATIENCE_MS;
    while (t->asked) {
        /* Again and again: the server may not have read the BLPOP yet. */
        struct waiter none = {.wake = -1};
        int rc = redis_pipe_call(t->pipe, &unblock, NULL, err);
        if (rc >= 0)
            rc = waiter_wait(&none, t->c->fd, false, clock_mono_ms() + UNBLOCK_MS, err);
        if (rc == WAITER_READABLE)
            rc = read_answer(t, err);
        if (rc < 0)
            return rc;
        if (t->asked && clock_mono_ms() > until)
            return no_answer(t, err);
    }
    return t->hand != NULL;
}

/* Waits with a connection. 1: a token, 0: none; *ret_over: the wait is over. */
static int wait_connected(struct redis_take *t, int64_t until, bool *ret_over, struct err *err)
{
    int rc = t->asked ? 0 : ask(t, err);
    if (rc < 0)
        return rc;
    rc = waiter_wait(&t->waiter, t->c->fd, true, MIN(until, t->answer_by), err);
    if (rc == WAITER_READABLE)
        return read_answer(t, err);
    if (rc == WAITER_TIME && t->answer_by < until)
        return no_answer(t, err);
    *ret_over = true;
    return rc < 0 ? rc : call_off(t, err);
}

/* Waits without one, for a while. */
static int wait_alone(struct redis_take *t, int64_t until, bool *ret_over, struct err *err)
{
    int64_t look = t->listen ? MIN(until, clock_mono_ms() + LOOK_MS) : until;
    int rc = waiter_wait(&t->waiter, -1, true, look, err);
    *ret_over = rc != WAITER_TIME || look == until;
    return rc < 0 ? rc : 0;
}

int redis_take_open(struct redis_take *t, bool listen, struct err *err)
{
    t->listen = listen;
    int rc = waiter_open(&t->waiter, err);
    if (rc < 0 || !listen)
        return rc;
    connect_when_due(t);
    struct err why = ERR_INIT;
    if (!t->c && !t->line.pause_ms && link_check(t->line.link, &why) < 0)
        line_down(&t->line, &why); /* as the first connection is; it counts as away until it is made */
    return 0;
}

void redis_take_close(struct redis_take *t)
{
    give_back(t);
    if (t->c)
        redisFree(TAKE(t->c));
    waiter_close(&t->waiter);
}

int redis_take_wait(struct redis_take *t, int64_t timeout_ms, struct err *err)
{
    int64_t until = waiter_deadline(timeout_ms);
    drop_hand(t);
    for (bool over = false; !over;) {
        struct err why = ERR_INIT;
        if (t->listen && !t->c)
            connect_when_due(t);
        if (!t->c) {
            int rc = wait_alone(t, until, &over, err);
            if (rc < 0)
                return rc;
            continue;
        }
        int rc = wait_connected(t, until, &over, &why);
        if (rc < 0)
            disconnect(t, &why);
        if (rc == 1 && !stop_requested())
            return 1;
        give_back(t); /* a token for a process that stops */
    }
    return 0;
}

void redis_take_used(struct redis_take *t, enum broker_name queue)
{
    struct err err = ERR_INIT;
    if (t->hand && t->queue == queue) {
        drop_hand(t);
        return;
    }
    const struct redis_args pop = {2, {"LPOP", t->names->name[queue]}, {0}};
    if (t->listen && redis_pipe_post(t->pipe, &pop, &err) < 0)
        log_debug(&lc, "a token stays in its queue: %s", err.msg);
    give_back(t);
}
