/* SPDX-License-Identifier: MIT */
/*
 * Channels, and how they come to know of their job: in batches of ids, read by a reader thread. A channel is in one
 * batch at a time; a hint that comes meanwhile has it looked at once more, so that nothing older than the last hint is
 * ever taken for the newest.
 */
#include "api/hub_internal.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct log_ctx lc = {.component = "api"};

/* Ids are random at the end. */
static struct channel_list *bucket(struct hub *h, const char *id)
{
    uint32_t x = 2166136261u;
    for (const char *p = id; *p; p++)
        x = (x ^ (unsigned char)*p) * 16777619u;
    return &h->buckets[x % HUB_BUCKETS];
}

static struct channel *find(struct hub *h, const char *id)
{
    struct channel *c;
    TAILQ_FOREACH(c, bucket(h, id), link)
    if (strcmp(c->id, id) == 0)
        return c;
    return NULL;
}

struct channel *channel_get(struct hub *h, const char *id)
{
    struct channel *c = find(h, id);
    if (c)
        return c;
    c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    snprintf(c->id, sizeof c->id, "%s", id);
    c->position = -1;
    TAILQ_INIT(&c->subs);
    TAILQ_INIT(&c->loads);
    TAILQ_INSERT_HEAD(bucket(h, id), c, link);
    h->n_channels++;
    return c;
}

void channel_drop(struct hub *h, struct channel *c)
{
    if (c->busy || c->users)
        return;
    if (c->queued)
        TAILQ_REMOVE(&h->to_look, c, wait);
    TAILQ_REMOVE(bucket(h, c->id), c, link);
    h->n_channels--;
    free(c);
}

void channel_hint(struct hub *h, struct channel *c)
{
    if (c->busy) {
        c->again = true;
    } else if (!c->queued) {
        c->queued = true;
        TAILQ_INSERT_TAIL(&h->to_look, c, wait);
    }
}

static bool ended(const struct channel *c)
{
    return c->known && (!c->stand.found || job_state_terminal(c->stand.state));
}

static void tell(struct channel *c)
{
    struct sub *s, *next;
    for (s = TAILQ_FIRST(&c->subs); s; s = next) {
        next = TAILQ_NEXT(s, link);
        s->ops->moved(s);
    }
}

void hub_hint(struct hub *h, const char *job_id, const char *stage)
{
    struct channel *c = find(h, job_id);
    if (!c)
        return;
    if (stage)
        snprintf(c->stage, sizeof c->stage, "%s", stage);
    channel_hint(h, c);
}

void hub_look_all(struct hub *h)
{
    struct channel *c;
    for (size_t i = 0; i < HUB_BUCKETS; i++)
        TAILQ_FOREACH(c, &h->buckets[i], link)
        {
            if (!ended(c))
                channel_hint(h, c);
            h->queue_wanted |= c->known && c->stand.found && c->stand.state == JOB_PENDING;
        }
}

/* ---- reading ---- */

void hub_read_later(struct hub *h, struct reading *r)
{
    r->hub = h;
    STAILQ_INSERT_TAIL(&h->to_read, r, link);
}

/* On a reader thread. */
static void read_task(void *arg)
{
    struct reading *r = arg;
    r->read(r);
    hub_post(r->hub, &r->post);
}

struct look {
    struct reading r;
    size_t n;
    struct channel *channels[STORE_STANDS_MAX];
    const char *ids[STORE_STANDS_MAX]; /* the channels': a busy one is not freed */
    struct job_stand stands[STORE_STANDS_MAX];
    int rc;
};

static void on_looked(struct hub *h, struct post *p)
{
    struct look *l = CONTAINER_OF(p, struct look, r.post);
    h->reads--;
    for (size_t i = 0; i < l->n; i++) {
        struct channel *c = l->channels[i];
        c->busy = false;
        if (l->rc >= 0) {
            c->stand = l->stands[i];
            c->known = true;
            if (c->stand.state != JOB_PENDING || c->stand.paused)
                c->position = -1; /* store_queue tells none of a paused queue: it would get old */
            if (c->stand.state != JOB_PROCESSING)
                *c->stage = '\0';
            tell(c);
        }
        if (c->again)
            channel_hint(h, c);
        c->again = false;
        channel_drop(h, c);
    }
    free(l);
}

static void read_look(struct reading *r)
{
    struct look *l = CONTAINER_OF(r, struct look, r);
    struct err err = ERR_INIT;
    l->rc = store_stands(r->hub->o.store, l->ids, l->n, l->stands, &err);
    if (l->rc < 0)
        log_debug(&lc, "followed jobs cannot be looked at: %s", err.msg);
}

static struct reading *next_look(struct hub *h)
{
    struct look *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->r = (struct reading){.hub = h, .read = read_look, .post.run = on_looked};
    for (struct channel *c; l->n < STORE_STANDS_MAX && (c = TAILQ_FIRST(&h->to_look)); l->n++) {
        TAILQ_REMOVE(&h->to_look, c, wait);
        c->queued = false;
        c->busy = true;
        l->channels[l->n] = c;
        l->ids[l->n] = c->id;
    }
    return &l->r;
}

struct queue_look {
    struct reading r;
    struct job_id ids[STORE_QUEUE_MAX];
    size_t n;
    int rc;
};

static void on_queue(struct hub *h, struct post *p)
{
    struct queue_look *q = CONTAINER_OF(p, struct queue_look, r.post);
    h->reads--;
    h->queue_reading = false;
    for (size_t i = 0; q->rc >= 0 && i < q->n; i++) {
        struct channel *c = find(h, q->ids[i].id);
        if (!c || c->position == (int64_t)i)
            continue;
        c->position = (int64_t)i;
        if (c->known) /* else the first look, which is under way, tells */
            tell(c);
    }
    free(q);
}

static void read_queue(struct reading *r)
{
    struct queue_look *q = CONTAINER_OF(r, struct queue_look, r);
    struct err err = ERR_INIT;
    q->rc = store_queue(r->hub->o.store, q->ids, &q->n, &err);
}

static struct reading *queue_look(struct hub *h)
{
    struct queue_look *q = calloc(1, sizeof *q);
    if (!q)
        return NULL;
    q->r = (struct reading){.hub = h, .read = read_queue, .post.run = on_queue};
    h->queue_wanted = false;
    h->queue_reading = true;
    return &q->r;
}

static struct reading *next_reading(struct hub *h)
{
    struct reading *r = STAILQ_FIRST(&h->to_read);
    if (h->queue_wanted && !h->queue_reading)
        return queue_look(h);
    h->loads_first = !h->loads_first;
    if (!TAILQ_EMPTY(&h->to_look) && (!r || !h->loads_first))
        return next_look(h);
    if (r)
        STAILQ_REMOVE_HEAD(&h->to_read, link);
    return r;
}

void hub_read(struct hub *h)
{
    struct reading *r;
    while (h->reads < HUB_READERS && (r = next_reading(h))) {
        h->reads++;
        if (!pool_try_run(h->readers, read_task, r))
            read_task(r); /* never: there is room for as many as are allowed */
    }
}
