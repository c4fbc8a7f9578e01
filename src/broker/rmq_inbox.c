/* SPDX-License-Identifier: MIT */
/*
 * `knock` wakes the waiter (a token, an interrupt), `work` the receiving thread. Both only say "look": what there is
 * stands in the fields.
 */
#include "broker/rmq_inbox.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "broker/broker_msg.h"
#include "broker/waiter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

enum {
    EVENT_BYTES = 1 << 20, /* what may lie here unread */
    GIVE_BACK_MS = 250,    /* longer than asking the store takes, usually; short for another worker that is free */
    DROP_MAX = 1000,
};

static const struct log_ctx lc = {.component = "broker"};

struct text {
    struct text *next;
    size_t n;
    char s[];
};

struct token_here {
    uint64_t tag; /* 0: none */
    enum { HELD, HANDED_OUT, DONE } state;
};

struct rmq_inbox {
    struct waiter knock;
    int work; /* eventfd */
    pthread_mutex_t mu;
    pthread_cond_t event_came;
    /* guarded by mu: */
    struct text *first, **last;
    size_t bytes;
    bool end_next, end_wait; /* interrupts that nobody has used up */
    struct token_here tokens[RMQ_TOKEN_QUEUES];
    unsigned drop[RMQ_TOKEN_QUEUES];
    bool waiting;
    int64_t since; /* when a token came, or the waiter left */
};

int rmq_inbox_new(struct rmq_inbox **ret, struct err *err)
{
    struct rmq_inbox *b = xcalloc(1, sizeof *b);
    b->last = &b->first;
    pthread_mutex_init(&b->mu, NULL);
    cond_init(&b->event_came);
    b->knock.wake = -1;
    b->work = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int rc = b->work < 0 ? err_sys(err, errno, "cannot make an eventfd") : waiter_open(&b->knock, err);
    if (rc < 0) {
        rmq_inbox_free(b);
        return rc;
    }
    *ret = b;
    return 0;
}

static struct text *take_text(struct rmq_inbox *b)
{
    struct text *t = b->first;
    if (t && !(b->first = t->next))
        b->last = &b->first;
    if (t)
        b->bytes -= t->n;
    return t;
}

void rmq_inbox_free(struct rmq_inbox *b)
{
    if (!b)
        return;
    struct text *t;
    while ((t = take_text(b)))
        free(t);
    waiter_close(&b->knock);
    close_fd(&b->work);
    pthread_cond_destroy(&b->event_came);
    pthread_mutex_destroy(&b->mu);
    free(b);
}

/* ---- the callers ---- */

static bool hand_out(struct rmq_inbox *b)
{
    bool any = false;
    for (int q = 0; q < RMQ_TOKEN_QUEUES; q++)
        if (b->tokens[q].tag && b->tokens[q].state == HELD) {
            b->tokens[q].state = HANDED_OUT;
            any = true;
        }
    return any;
}

static bool use_up(bool *flag)
{
    bool set = *flag;
    *flag = false;
    return set;
}

int rmq_inbox_wait(struct rmq_inbox *b, int64_t timeout_ms, struct err *err)
{
    int64_t until = waiter_deadline(timeout_ms);
    int how = WAITER_WOKEN;
    bool got = false, interrupted = false;
    pthread_mutex_lock(&b->mu);
    b->waiting = true;
    /* Who waits again found nothing for them. */
    for (int q = 0; q < RMQ_TOKEN_QUEUES; q++)
        if (b->tokens[q].tag && b->tokens[q].state == HANDED_OUT)
            b->tokens[q].state = DONE;
    rmq_inbox_wake(b);
    /* A knock may be old, and the stop flag goes first: so the fields count only after a look at the flag. */
    waiter_wake(&b->knock);
    while (how == WAITER_WOKEN && !got && !interrupted) {
        pthread_mutex_unlock(&b->mu);
        how = waiter_wait(&b->knock, -1, true, until, err);
        pthread_mutex_lock(&b->mu);
        if (how == WAITER_WOKEN) {
            interrupted = use_up(&b->end_wait);
            got = !interrupted && hand_out(b);
        }
    }
    b->waiting = false;
    b->since = clock_mono_ms();
    pthread_mutex_unlock(&b->mu);
    return how < 0 ? how : got;
}

void rmq_inbox_taken(struct rmq_inbox *b, enum broker_name queue)
{
    if ((int)queue >= RMQ_TOKEN_QUEUES)
        return;
    pthread_mutex_lock(&b->mu);
    struct token_here *t = &b->tokens[queue];
    if (t->tag && t->state != DONE)
        t->state = DONE;
    else if (b->drop[queue] < DROP_MAX)
        b->drop[queue]++;
    pthread_mutex_unlock(&b->mu);
    rmq_inbox_wake(b);
}

void rmq_inbox_interrupt(struct rmq_inbox *b)
{
    pthread_mutex_lock(&b->mu);
    b->end_next = b->end_wait = true;
    pthread_cond_broadcast(&b->event_came);
    pthread_mutex_unlock(&b->mu);
    waiter_wake(&b->knock);
}

int rmq_inbox_next_event(struct rmq_inbox *b, int64_t timeout_ms, struct event *ret)
{
    int64_t until = waiter_deadline(timeout_ms), left;
    int got = 0;
    pthread_mutex_lock(&b->mu);
    do {
        struct text *t = take_text(b);
        if (t) {
            got = broker_event_decode(t->s, t->n, ret);
            if (!got)
                log_debug(&lc, "dropped a malformed event of %zu bytes", t->n);
            free(t);
        } else {
            left = until - clock_mono_ms();
            if (left <= 0 || use_up(&b->end_next))
                break;
            cond_wait_ms(&b->event_came, &b->mu, until == INT64_MAX ? -1 : left);
        }
    } while (!got);
    pthread_mutex_unlock(&b->mu);
    return got;
}

/* ---- the receiving thread ---- */

int rmq_inbox_fd(const struct rmq_inbox *b)
{
    return b->work;
}

void rmq_inbox_wake(struct rmq_inbox *b)
{
    /* Fails only on a full counter, which is readable already. */
    (void)eventfd_write(b->work, 1);
}

/*
 * With an acknowledgement the server sends the next token, so one is only made when somebody waits, or before
 * consuming ends. Tokens to remove may just be on their way here; they are surely in the queue once consuming has
 * ended.
 */
static void list_chores(struct rmq_inbox *b, bool leaving, struct rmq_chores *ret)
{
    eventfd_t count;
    *ret = (struct rmq_chores){.expect_ms = INT64_MAX};
    /* Before looking: what comes after the look makes it readable again. */
    (void)eventfd_read(b->work, &count);
    pthread_mutex_lock(&b->mu);
    bool any = false;
    for (int q = 0; q < RMQ_TOKEN_QUEUES; q++) {
        any = any || b->tokens[q].tag;
        ret->drop[q] = b->drop[q];
        ret->any_drop = ret->any_drop || b->drop[q];
        b->drop[q] = 0;
    }
    ret->somebody_waits = b->waiting;
    if (any && !b->waiting)
        ret->expect_ms = MAX(b->since + GIVE_BACK_MS - clock_mono_ms(), 0);
    ret->give_back = ret->any_drop || leaving || ret->expect_ms == 0;
    for (int q = 0; q < RMQ_TOKEN_QUEUES && (b->waiting || ret->give_back); q++)
        if (b->tokens[q].state == DONE) {
            ret->ack[q] = b->tokens[q].tag;
            b->tokens[q].tag = 0;
        }
    pthread_mutex_unlock(&b->mu);
}

void rmq_inbox_chores(struct rmq_inbox *b, struct rmq_chores *ret)
{
    list_chores(b, false, ret);
}

void rmq_inbox_last_chores(struct rmq_inbox *b, struct rmq_chores *ret)
{
    list_chores(b, true, ret);
}

bool rmq_inbox_token(struct rmq_inbox *b, enum broker_name queue, uint64_t tag)
{
    pthread_mutex_lock(&b->mu);
    bool room = (int)queue < RMQ_TOKEN_QUEUES && !b->tokens[queue].tag;
    if (room) {
        b->tokens[queue] = (struct token_here){.tag = tag, .state = HELD};
        b->since = clock_mono_ms();
    }
    pthread_mutex_unlock(&b->mu);
    waiter_wake(&b->knock);
    return room;
}

void rmq_inbox_tokens_lost(struct rmq_inbox *b)
{
    pthread_mutex_lock(&b->mu);
    memset(b->tokens, 0, sizeof b->tokens);
    pthread_mutex_unlock(&b->mu);
}

void rmq_inbox_event(struct rmq_inbox *b, const char *msg, size_t n)
{
    struct text *t = malloc(sizeof *t + n);
    if (!t)
        return; /* a hint less */
    *t = (struct text){.n = n};
    memcpy(t->s, msg, n);
    pthread_mutex_lock(&b->mu);
    while (b->first && b->bytes + n > EVENT_BYTES)
        free(take_text(b));
    *b->last = t;
    b->last = &t->next;
    b->bytes += n;
    pthread_cond_signal(&b->event_came);
    pthread_mutex_unlock(&b->mu);
}
