/* SPDX-License-Identifier: MIT */
#include "broker/notify_in.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/stop.h"

enum { ASK_MS = 5000, LOOK_MS = 200 };

static void heard(struct notify_in *n)
{
    n->ask_at = clock_mono_ms() + ASK_MS;
}

static void connect_when_due(struct notify_in *n)
{
    struct err err = ERR_INIT;
    if (line_due_ms(&n->line) > 0 || !notify_out_is_up(n->out))
        return;
    const struct pg_opts opts = {
        .url = n->url, .name = "steno broker", .setup = n->listen, .answer_ms = LINK_PATIENCE_MS};
    if (pg_open(&opts, &n->l, &err) < 0) {
        line_down(&n->line, &err);
        return;
    }
    line_up(&n->line);
    heard(n);
}

static void disconnect(struct notify_in *n, const struct err *why)
{
    pg_close(TAKE(n->l));
    line_down(&n->line, why);
}

int notify_in_open(struct notify_in *n, struct err *err)
{
    int rc = waiter_open(&n->waiter, err);
    if (rc < 0 || !n->listen)
        return rc;
    connect_when_due(n);
    n->was_connected = n->l != NULL;
    struct err why = ERR_INIT;
    if (!n->l && !n->line.pause_ms && link_check(n->line.link, &why) < 0)
        line_down(&n->line, &why); /* as the first connection is; it counts as away until it is made */
    return 0;
}

void notify_in_close(struct notify_in *n)
{
    pg_close(TAKE(n->l));
    waiter_close(&n->waiter);
}

/* Waits with a connection. 1: a message, 0: none; *ret_over: the wait is over. */
static int wait_connected(struct notify_in *n, int64_t until, bool heed_stop, const char **ret, bool *ret_over,
                          struct err *err)
{
    int rc = pg_notice(n->l, ret, err);
    if (rc != 0)
        return rc;
    rc = waiter_wait(&n->waiter, pg_fd(n->l), heed_stop, MIN(until, n->ask_at), err);
    if (rc == WAITER_READABLE) {
        heard(n);
        return 0;
    }
    if (rc == WAITER_TIME && n->ask_at < until) {
        heard(n);
        return pg_do(n->l, "SELECT 1", err);
    }
    *ret_over = true;
    return MIN(rc, 0);
}

/* Waits without one, for a while. */
static int wait_alone(struct notify_in *n, int64_t until, bool heed_stop, bool *ret_over, struct err *err)
{
    int64_t look = n->listen ? MIN(until, clock_mono_ms() + LOOK_MS) : until;
    int rc = waiter_wait(&n->waiter, -1, heed_stop, look, err);
    *ret_over = rc != WAITER_TIME || look == until;
    return MIN(rc, 0);
}

int notify_in_next(struct notify_in *n, int64_t until_ms, bool heed_stop, const char **ret, struct err *err)
{
    for (bool over = false; !over;) {
        struct err why = ERR_INIT;
        if (heed_stop && stop_requested())
            return 0;
        if (n->listen && !n->l) {
            connect_when_due(n);
            if (n->l) {
                bool again = n->was_connected;
                n->was_connected = true;
                *ret = NULL;
                if (again)
                    return 1;
            }
        }
        bool connected = n->l != NULL;
        int rc = connected ? wait_connected(n, until_ms, heed_stop, ret, &over, &why)
                           : wait_alone(n, until_ms, heed_stop, &over, &why);
        if (rc == 1)
            return 1;
        if (rc < 0 && !connected) {
            *err = why;
            return rc;
        }
        if (rc < 0) {
            disconnect(n, &why);
            over = false;
        }
    }
    return 0;
}
