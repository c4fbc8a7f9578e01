/* SPDX-License-Identifier: MIT */
/*
 * The hub's thread: descriptors, timers, and what other threads post. A second thread, the feed, takes events from the
 * broker, which blocks; it passes on no more than HINTS_MAX at a time: a hint that is lost costs LOOK_MS.
 */
#include "api/hub_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { READY_MAX = 256, HINTS_MAX = 16384, READS_QUEUED = 64, FEED_PAUSE_MS = 200 };

static const struct log_ctx lc = {.component = "api"};

/* ---- any thread ---- */

static void wake(struct hub *h)
{
    static const uint64_t one = 1;
    /* Full means that it is readable already. */
    ssize_t n = write(h->wake, &one, sizeof one);
    (void)n;
}

void hub_post(struct hub *h, struct post *p)
{
    pthread_mutex_lock(&h->mu);
    bool first = STAILQ_EMPTY(&h->posts);
    STAILQ_INSERT_TAIL(&h->posts, p, link);
    pthread_mutex_unlock(&h->mu);
    if (first)
        wake(h);
}

/* ---- the feed ---- */

struct hint {
    struct post post;
    char id[EVENT_ID_MAX], stage[STAGE_SIZE];
};

static void on_hint(struct hub *h, struct post *p)
{
    struct hint *x = CONTAINER_OF(p, struct hint, post);
    pthread_mutex_lock(&h->mu);
    h->n_hints--;
    pthread_mutex_unlock(&h->mu);
    hub_hint(h, x->id, *x->stage ? x->stage : NULL);
    free(x);
}

/* What the worker is at, which no row says. */
static void read_stage(const struct event *e, char ret[STAGE_SIZE])
{
    json_t *o = json_loads(e->json, 0, NULL);
    const char *stage = json_string_value(json_object_get(o, "stage"));
    snprintf(ret, STAGE_SIZE, "%s", stage ? stage : "");
    json_decref(o);
}

static void pass_on(struct hub *h, const struct event *e)
{
    pthread_mutex_lock(&h->mu);
    bool room = h->n_hints < HINTS_MAX;
    h->n_hints += room;
    pthread_mutex_unlock(&h->mu);
    if (!room)
        return;
    struct hint *x = xcalloc(1, sizeof *x);
    x->post.run = on_hint;
    memcpy(x->id, e->job_id, sizeof x->id);
    if (strcmp(e->type, "progress") == 0)
        read_stage(e, x->stage);
    hub_post(h, &x->post);
}

static void *feed_main(void *arg)
{
    struct hub *h = arg;
    struct event e;
    bool said = false;
    while (!atomic_load(&h->closing)) {
        struct err err = ERR_INIT;
        int rc = broker_next_event(h->o.broker, LOOK_MS, &e, &err);
        if (rc > 0)
            pass_on(h, &e);
        if (rc < 0 && !said)
            log_warn(&lc, "no events from the broker, jobs that are followed are looked at every %d s: %s",
                     LOOK_MS / 1000, err.msg);
        if (rc < 0)
            clock_sleep_ms(FEED_PAUSE_MS);
        said = rc < 0;
    }
    return NULL;
}

/* ---- subs ---- */

int sub_start(struct hub *h, struct sub *s, const char *job_id, unsigned epoll_events, int64_t late_ms, struct err *err)
{
    struct epoll_event e = {.events = epoll_events, .data.ptr = s};
    s->hub = h;
    s->channel = channel_get(h, job_id);
    if (!s->channel)
        return err_set(err, ERR_NOMEM, "no memory to follow another job");
    int rc = timer_set(&h->timers, &s->timer, late_ms, err);
    if (rc >= 0 && s->fd >= 0 && epoll_ctl(h->epoll, EPOLL_CTL_ADD, s->fd, &e) < 0)
        rc = err_sys(err, errno, "cannot watch a connection");
    if (rc < 0) {
        timer_unset(&h->timers, &s->timer);
        channel_drop(h, s->channel);
        return rc;
    }
    TAILQ_INSERT_TAIL(&s->channel->subs, s, link);
    s->channel->users++;
    channel_hint(h, s->channel); /* what is known of it may be old */
    if (h->draining)
        s->ops->drain(s);
    return 0;
}

void sub_end(struct sub *s)
{
    struct hub *h = s->hub;
    if (s->dead)
        return;
    s->dead = true;
    if (s->fd >= 0)
        (void)epoll_ctl(h->epoll, EPOLL_CTL_DEL, s->fd, NULL);
    timer_unset(&h->timers, &s->timer);
    TAILQ_REMOVE(&s->channel->subs, s, link);
    TAILQ_INSERT_TAIL(&h->dead, s, link);
}

/* Not earlier: events of this round, and loops over a channel's subs, may still hold a pointer. */
static void bury(struct hub *h)
{
    for (struct sub *s; (s = TAILQ_FIRST(&h->dead));) {
        TAILQ_REMOVE(&h->dead, s, link);
        s->channel->users--;
        channel_drop(h, s->channel);
        s->ops->free(s);
    }
}

/* ---- the thread ---- */

static int wait_ms(const struct hub *h)
{
    int64_t next = INT64_MAX;
    const struct timer *t = timers_first(&h->timers);
    if (t)
        next = t->at_ms;
    if (h->n_channels)
        next = MIN(next, h->next_look_ms);
    return next == INT64_MAX ? -1 : (int)CLAMP(next - clock_mono_ms(), 0, 60000);
}

static void run_posts(struct hub *h)
{
    STAILQ_HEAD(, post) posts = STAILQ_HEAD_INITIALIZER(posts);
    pthread_mutex_lock(&h->mu);
    STAILQ_CONCAT(&posts, &h->posts);
    pthread_mutex_unlock(&h->mu);
    for (struct post *p; (p = STAILQ_FIRST(&posts));) {
        STAILQ_REMOVE_HEAD(&posts, link);
        p->run(h, p);
    }
}

static void run_timers(struct hub *h, int64_t now_ms)
{
    for (struct timer *t; (t = timers_first(&h->timers)) && t->at_ms <= now_ms;) {
        struct sub *s = CONTAINER_OF(t, struct sub, timer);
        timer_unset(&h->timers, t);
        s->ops->late(s);
    }
}

static void *hub_main(void *arg)
{
    struct hub *h = arg;
    struct epoll_event ready[READY_MAX];
    while (!atomic_load(&h->closing)) {
        int n = epoll_wait(h->epoll, ready, READY_MAX, wait_ms(h));
        for (int i = 0; i < n; i++) {
            struct sub *s = ready[i].data.ptr;
            uint64_t count;
            if (!s && read(h->wake, &count, sizeof count) < 0)
                log_debug(&lc, "nothing to read from the hub's wake-up: %m");
            if (s && !s->dead)
                s->ops->ready(s, ready[i].events);
        }
        run_posts(h);
        int64_t now = clock_mono_ms();
        run_timers(h, now);
        if (h->n_channels && now >= h->next_look_ms) {
            hub_look_all(h);
            h->next_look_ms = now + LOOK_MS;
        }
        hub_read(h);
        bury(h);
    }
    return NULL;
}

/* ---- */

static int start(struct hub *h, struct err *err)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    h->epoll = epoll_create1(EPOLL_CLOEXEC);
    h->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (h->epoll < 0 || h->wake < 0 || epoll_ctl(h->epoll, EPOLL_CTL_ADD, h->wake, &e) < 0)
        return err_sys(err, errno, "cannot make the epoll of live connections");
    int rc = pool_new("api-follow", HUB_READERS, READS_QUEUED, &h->readers, err);
    if (rc >= 0)
        rc = thread_start(&h->thread, "api-hub", hub_main, h, err);
    h->has_thread = rc >= 0;
    if (rc >= 0)
        rc = thread_start(&h->feed, "api-feed", feed_main, h, err);
    h->has_feed = h->has_thread && rc >= 0;
    return rc;
}

int hub_new(const struct hub_opts *o, struct hub **ret, struct err *err)
{
    struct hub *h = xcalloc(1, sizeof *h);
    h->o = *o;
    h->epoll = h->wake = -1;
    pthread_mutex_init(&h->mu, NULL);
    STAILQ_INIT(&h->posts);
    TAILQ_INIT(&h->to_look);
    STAILQ_INIT(&h->to_read);
    TAILQ_INIT(&h->dead);
    for (size_t i = 0; i < HUB_BUCKETS; i++)
        TAILQ_INIT(&h->buckets[i]);
    int rc = start(h, err);
    if (rc < 0) {
        hub_free(h);
        return rc;
    }
    *ret = h;
    return 0;
}

static void on_drain(struct hub *h, struct post *p)
{
    free(p);
    h->draining = true;
    for (size_t i = 0; i < HUB_BUCKETS; i++) {
        struct channel *c;
        TAILQ_FOREACH(c, &h->buckets[i], link)
        {
            struct sub *s, *next;
            for (s = TAILQ_FIRST(&c->subs); s; s = next) {
                next = TAILQ_NEXT(s, link);
                s->ops->drain(s);
            }
        }
    }
}

void hub_drain(struct hub *h)
{
    struct post *p = xcalloc(1, sizeof *p);
    p->run = on_drain;
    hub_post(h, p);
}

static void free_subs(struct hub *h)
{
    for (size_t i = 0; i < HUB_BUCKETS; i++) {
        struct channel *c;
        TAILQ_FOREACH(c, &h->buckets[i], link)
        for (struct sub *s; (s = TAILQ_FIRST(&c->subs));)
            sub_end(s);
    }
    bury(h);
}

void hub_free(struct hub *h)
{
    if (!h)
        return;
    atomic_store(&h->closing, true);
    if (h->has_feed) {
        broker_interrupt(h->o.broker);
        pthread_join(h->feed, NULL);
    }
    if (h->has_thread) {
        wake(h);
        pthread_join(h->thread, NULL);
    }
    pool_free(h->readers); /* what they read is posted, and run here */
    run_posts(h);
    free_subs(h);
    for (struct reading *r; (r = STAILQ_FIRST(&h->to_read));) {
        STAILQ_REMOVE_HEAD(&h->to_read, link);
        r->skipped = true;
        h->reads++;
        r->post.run(h, &r->post);
    }
    timers_clear(&h->timers);
    close_fd(&h->epoll);
    close_fd(&h->wake);
    pthread_mutex_destroy(&h->mu);
    free(h);
}
