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

struct channel *channel_get(struct hub *h, const char *id)
{
    struct channel_list *b = bucket(h, id);
    struct channel *c;
    TAILQ_FOREACH(c, b, link)
    if (strcmp(c->id, id) == 0)
        return c;
    c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    snprintf(c->id, sizeof c->id, "%s", id);
    TAILQ_INIT(&c->subs);
    TAILQ_INSERT_HEAD(b, c, link);
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

void hub_hint(struct hub *h, const char *job_id)
{
    struct channel *c;
    TAILQ_FOREACH(c, bucket(h, job_id), link)
    if (strcmp(c->id, job_id) == 0)
        channel_hint(h, c);
}

void hub_look_all(struct hub *h)
{
    struct channel *c;
    for (size_t i = 0; i < HUB_BUCKETS; i++)
        TAILQ_FOREACH(c, &h->buckets[i], link)
    if (!ended(c))
        channel_hint(h, c);
}

/* ---- reading ---- */

struct look {
    struct post post;
    struct hub *hub;
    size_t n;
    struct channel *channels[STORE_STANDS_MAX];
    const char *ids[STORE_STANDS_MAX];
    struct job_stand stands[STORE_STANDS_MAX];
    int rc;
};

static void tell(struct channel *c)
{
    struct sub *s, *next;
    for (s = TAILQ_FIRST(&c->subs); s; s = next) {
        next = TAILQ_NEXT(s, link);
        s->ops->moved(s);
    }
}

static void on_looked(struct hub *h, struct post *p)
{
    struct look *l = CONTAINER_OF(p, struct look, post);
    h->reads--;
    for (size_t i = 0; i < l->n; i++) {
        struct channel *c = l->channels[i];
        c->busy = false;
        if (l->rc >= 0) {
            c->stand = l->stands[i];
            c->known = true;
            tell(c);
        }
        if (c->again)
            channel_hint(h, c);
        c->again = false;
        channel_drop(h, c);
    }
    free(l);
}

/* On a reader thread. The ids stay: a busy channel is not freed. */
static void look_task(void *arg)
{
    struct look *l = arg;
    struct err err = ERR_INIT;
    l->rc = store_stands(l->hub->o.store, l->ids, l->n, l->stands, &err);
    if (l->rc < 0)
        log_debug(&lc, "followed jobs cannot be looked at: %s", err.msg);
    hub_post(l->hub, &l->post);
}

void hub_read(struct hub *h)
{
    while (h->reads < HUB_READERS && !TAILQ_EMPTY(&h->to_look)) {
        struct look *l = calloc(1, sizeof *l);
        if (!l)
            return;
        l->hub = h;
        l->post.run = on_looked;
        for (struct channel *c; l->n < STORE_STANDS_MAX && (c = TAILQ_FIRST(&h->to_look)); l->n++) {
            TAILQ_REMOVE(&h->to_look, c, wait);
            c->queued = false;
            c->busy = true;
            l->channels[l->n] = c;
            l->ids[l->n] = c->id;
        }
        h->reads++;
        if (!pool_try_run(h->readers, look_task, l))
            look_task(l); /* never: there is room for as many as are allowed */
    }
}
