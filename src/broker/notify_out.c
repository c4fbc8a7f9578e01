/* SPDX-License-Identifier: MIT */
#include "broker/notify_out.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "pg/pg.h"

#include <stdlib.h>

enum {
    GROUP_MAX = 128,  /* messages in one transaction */
    QUEUE_MAX = 4096, /* posted messages that wait: some megabytes at most */
    PROBE_MS = 5000,  /* an idle connection is looked at this often */
    STOP_MS = 1000,   /* at the end: how long what is posted may take */
};

static const struct log_ctx lc = {.component = "broker"};

/* Posted ones are owned by the queue; others live on the stack of a sender that waits. */
struct message {
    const char *channel; /* NULL: only a round trip */
    char *text;
    bool posted, done;
    int rc;
    struct err *err;
    struct message *next;
};

struct notify_out {
    const char *url;
    struct line line;
    struct pg_link *l; /* the thread's */
    pthread_t thread;
    pthread_mutex_t mu;
    pthread_cond_t work, told;
    struct message *first, **last; /* guarded by mu, as all below */
    size_t queued;
    bool up, tried, stopping;
};

/* Sets every message's fate and gives the posted ones up. */
static void settle(struct notify_out *o, struct message *group, int rc, const struct err *why)
{
    pthread_mutex_lock(&o->mu);
    for (struct message *m = group, *next; m; m = next) {
        next = m->next;
        if (m->posted) {
            free(m->text);
            free(m);
            continue;
        }
        m->rc = rc;
        if (rc < 0)
            *m->err = *why;
        m->done = true;
    }
    pthread_cond_broadcast(&o->told);
    pthread_mutex_unlock(&o->mu);
}

static struct message *take_group_locked(struct notify_out *o, size_t max)
{
    struct message *group = o->first, **end = &o->first;
    for (size_t n = 0; n < max && *end; n++) {
        end = &(*end)->next;
        o->queued--;
    }
    o->first = *end;
    *end = NULL;
    if (!o->first)
        o->last = &o->first;
    return end == &o->first ? NULL : group;
}

static void set_up(struct notify_out *o, bool up)
{
    pthread_mutex_lock(&o->mu);
    o->up = up;
    o->tried = true;
    pthread_cond_broadcast(&o->told);
    pthread_mutex_unlock(&o->mu);
}

static void give_up(struct notify_out *o, const struct err *why)
{
    pg_close(TAKE(o->l));
    line_down(&o->line, why);
    set_up(o, false);
    /* Nobody is added any more: what waits has the same fate. */
    pthread_mutex_lock(&o->mu);
    struct message *rest = take_group_locked(o, SIZE_MAX);
    pthread_mutex_unlock(&o->mu);
    if (rest)
        settle(o, rest, why->code, why);
}

static void connect_now(struct notify_out *o)
{
    struct err err = ERR_INIT;
    /* No commit of hints waits for the disk. */
    const struct pg_opts opts = {.url = o->url,
                                 .name = "steno broker",
                                 .setup = "SET synchronous_commit = off; SET client_min_messages = warning",
                                 .answer_ms = LINK_PATIENCE_MS};
    if (pg_open(&opts, &o->l, &err) < 0) {
        give_up(o, &err);
        return;
    }
    line_up(&o->line);
    set_up(o, true);
}

static int exchange(struct notify_out *o, struct message *group, struct err *err)
{
    int rc = 0;
    size_t n = 0;
    for (struct message *m = group; m && rc >= 0; m = m->next, n++) {
        const char *const values[] = {m->channel, m->text};
        rc = m->channel ? pg_send(o->l, "SELECT pg_notify($1, $2)", values, 2, err)
                        : pg_send(o->l, "SELECT 1", NULL, 0, err);
    }
    if (rc >= 0)
        rc = pg_sync(o->l, err);
    for (; rc >= 0 && n > 0; n--) {
        struct pg_result *r = NULL;
        rc = pg_next(o->l, &r, err);
        pg_free(r);
    }
    return rc < 0 ? rc : pg_end(o->l, err);
}

static void send_group(struct notify_out *o, struct message *group)
{
    struct err err = ERR_INIT;
    /* A server that was restarted since the last message: the next connection is as good. */
    if (!pg_alive(o->l)) {
        pg_close(TAKE(o->l));
        connect_now(o);
        if (!o->l) {
            settle(o, group, link_check(o->line.link, &err), &err);
            return;
        }
    }
    int rc = exchange(o, group, &err);
    if (rc < 0)
        err.code = rc = ERR_UNAVAILABLE; /* whatever it was, the sender goes on without */
    settle(o, group, rc, &err);
    if (rc < 0)
        give_up(o, &err);
}

static void probe(struct notify_out *o)
{
    struct err err = ERR_INIT;
    if (pg_do(o->l, "SELECT 1", &err) < 0)
        give_up(o, &err);
}

static void *sender(void *arg)
{
    struct notify_out *o = arg;
    int64_t stop_by = INT64_MAX;
    pthread_mutex_lock(&o->mu);
    for (;;) {
        if (o->stopping && stop_by == INT64_MAX)
            stop_by = clock_mono_ms() + STOP_MS;
        if (o->stopping && (!o->first || !o->l || clock_mono_ms() > stop_by))
            break;
        struct message *group = o->l ? take_group_locked(o, GROUP_MAX) : NULL;
        int64_t due = line_due_ms(&o->line);
        bool waited = false, woken = false;
        if (!group && (o->l || due > 0)) {
            waited = true;
            woken = cond_wait_ms(&o->work, &o->mu, o->l ? PROBE_MS : due);
        }
        if (waited && (woken || !o->l))
            continue;
        pthread_mutex_unlock(&o->mu);
        if (group)
            send_group(o, group);
        else if (!o->l)
            connect_now(o);
        else
            probe(o);
        pthread_mutex_lock(&o->mu);
    }
    struct message *rest = take_group_locked(o, SIZE_MAX);
    pthread_mutex_unlock(&o->mu);
    struct err closing = ERR_INIT;
    err_set(&closing, ERR_UNAVAILABLE, "the broker is being closed");
    if (rest) {
        log_debug(&lc, "messages were dropped at the end");
        settle(o, rest, closing.code, &closing);
    }
    pg_close(TAKE(o->l));
    return NULL;
}

int notify_out_open(const char *url, struct link *link, unsigned bit, struct notify_out **ret, struct err *err)
{
    struct notify_out *o = xcalloc(1, sizeof *o);
    o->url = url;
    o->last = &o->first;
    line_init(&o->line, link, bit);
    pthread_mutex_init(&o->mu, NULL);
    cond_init(&o->work);
    cond_init(&o->told);
    int rc = thread_start(&o->thread, "notify", sender, o, err);
    if (rc < 0) {
        free(o);
        return rc;
    }
    int64_t until = clock_mono_ms() + LINK_PATIENCE_MS, left;
    pthread_mutex_lock(&o->mu);
    while (!o->tried && (left = until - clock_mono_ms()) > 0)
        cond_wait_ms(&o->told, &o->mu, left);
    pthread_mutex_unlock(&o->mu);
    *ret = o;
    return 0;
}

void notify_out_close(struct notify_out *o)
{
    if (!o)
        return;
    pthread_mutex_lock(&o->mu);
    o->stopping = true;
    pthread_cond_signal(&o->work);
    pthread_mutex_unlock(&o->mu);
    pthread_join(o->thread, NULL);
    pthread_cond_destroy(&o->work);
    pthread_cond_destroy(&o->told);
    pthread_mutex_destroy(&o->mu);
    free(o);
}

bool notify_out_is_up(struct notify_out *o)
{
    pthread_mutex_lock(&o->mu);
    bool up = o->up;
    pthread_mutex_unlock(&o->mu);
    return up;
}

/* When too much waits the sender waits too, for a moment. */
static int add_locked(struct notify_out *o, struct message *m, struct err *err)
{
    int64_t until = clock_mono_ms() + LINK_PATIENCE_MS, left;
    while (o->up && o->queued >= QUEUE_MAX && (left = until - clock_mono_ms()) > 0)
        cond_wait_ms(&o->told, &o->mu, left);
    if (!o->up) {
        int rc = link_check(o->line.link, err);
        return rc < 0 ? rc : err_set(err, ERR_UNAVAILABLE, "the broker is not connected yet");
    }
    if (o->queued >= QUEUE_MAX)
        return err_set(err, ERR_BUSY, "%d messages wait to be sent to the broker", QUEUE_MAX);
    *o->last = m;
    o->last = &m->next;
    o->queued++;
    pthread_cond_signal(&o->work);
    return 0;
}

static int send_and_wait(struct notify_out *o, const char *channel, const char *text, struct err *err)
{
    char *copy = xstrdup(text);
    struct message m = {.channel = channel, .text = copy, .err = err};
    pthread_mutex_lock(&o->mu);
    int rc = add_locked(o, &m, err);
    while (rc >= 0 && !m.done)
        cond_wait_ms(&o->told, &o->mu, -1);
    pthread_mutex_unlock(&o->mu);
    free(copy);
    return rc < 0 ? rc : m.rc;
}

int notify_out_send(struct notify_out *o, const char *channel, const char *text, struct err *err)
{
    return send_and_wait(o, channel, text, err);
}

int notify_out_ping(struct notify_out *o, struct err *err)
{
    return send_and_wait(o, NULL, NULL, err);
}

int notify_out_post(struct notify_out *o, const char *channel, const char *text, struct err *err)
{
    struct message *m = xcalloc(1, sizeof *m);
    *m = (struct message){.channel = channel, .text = xstrdup(text), .posted = true};
    pthread_mutex_lock(&o->mu);
    int rc = add_locked(o, m, err);
    pthread_mutex_unlock(&o->mu);
    if (rc < 0) {
        free(m->text);
        free(m);
    }
    return rc;
}
