/* SPDX-License-Identifier: MIT */
/*
 * Inside the hub. A channel is one job as one kind of follower sees it; a sub is one follower of a channel. Channels
 * live while they have subs or are being read. Everything here is the hub thread's, except where it says "any thread".
 */
#ifndef API_HUB_INTERNAL_H
#define API_HUB_INTERNAL_H

#include "api/hub.h"
#include "api/timers.h"
#include "base/id.h"
#include "base/thread.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

enum {
    LOOK_MS = 2000, /* how often followed jobs are looked at without a hint */
    HUB_BUCKETS = 8192,
    HUB_READERS = 4, /* reads of the database at the same time */
};

struct channel;
struct sub;

/* A follower of a job; the first member of what follows. */
struct sub_ops {
    void (*ready)(struct sub *s, unsigned epoll_events); /* its descriptor */
    void (*moved)(struct sub *s);                        /* its channel was looked at */
    void (*late)(struct sub *s);                         /* its timer ran out, and is unset now */
    void (*drain)(struct sub *s);                        /* the server stops: come to an end soon */
    void (*free)(struct sub *s);                         /* after sub_end: nobody refers to it any more */
};

struct sub {
    const struct sub_ops *ops;
    struct hub *hub;
    struct channel *channel;
    TAILQ_ENTRY(sub) link; /* of the channel, then of the dead */
    int fd;                /* watched by the hub; -1: none */
    struct timer timer;
    bool dead;
};

TAILQ_HEAD(sub_list, sub);

struct live_load;
enum { STAGE_SIZE = 16 };

struct channel {
    TAILQ_ENTRY(channel) link; /* of its bucket */
    TAILQ_ENTRY(channel) wait; /* of those that are to be looked at */
    char id[ID_SIZE];
    struct sub_list subs;
    size_t users;           /* those, the dead that are not freed yet, and loads */
    bool known;             /* the row was read at least once; then: */
    struct job_stand stand; /* what it said; not found: no such job, or purged */
    bool queued, busy;      /* to be looked at; being looked at */
    bool again;             /* ... once more after that */
    int64_t position;       /* in the queue; -1: not known */
    char stage[STAGE_SIZE]; /* that the worker told last; "": none */
    TAILQ_HEAD(, live_load) loads;
};

TAILQ_HEAD(channel_list, channel);

/* Something for the hub's thread to do. */
struct post {
    STAILQ_ENTRY(post) link;
    void (*run)(struct hub *h, struct post *p); /* owns p */
};

/* Something to be read from the database: `read` runs on a reader thread, post.run after it on the hub's. */
struct reading {
    struct post post;
    STAILQ_ENTRY(reading) link;
    struct hub *hub;
    void (*read)(struct reading *r);
    bool skipped; /* it was not read: the hub ends */
};

struct hub {
    struct hub_opts o;
    pthread_t thread, feed;
    bool has_thread, has_feed;
    struct pool *readers;
    int epoll, wake;
    atomic_bool closing; /* the threads end */
    pthread_mutex_t mu;
    STAILQ_HEAD(, post) posts; /* guarded by mu */
    size_t n_hints;            /* of them, guarded by mu */
    /* The hub thread's: */
    bool draining;
    struct channel_list buckets[HUB_BUCKETS];
    size_t n_channels;
    struct channel_list to_look;
    STAILQ_HEAD(, reading) to_read;
    unsigned reads;    /* under way */
    bool loads_first;  /* looks and other readings take turns */
    bool queue_wanted; /* somebody follows a job that waits */
    bool queue_reading;
    struct sub_list dead;
    struct timers timers;
    int64_t next_look_ms;
};

/* Any thread. Runs p->run on the hub's thread. */
void hub_post(struct hub *h, struct post *p);

/*
 * Adds a follower, whose `ops` and `fd` are set and whose timer runs out at late_ms. Negative: it was not added, and is
 * the caller's to free.
 */
int sub_start(struct hub *h, struct sub *s, const char *job_id, unsigned epoll_events, int64_t late_ms, struct err *err)
    MUST_CHECK;
/* The hub forgets it at once; ops->free is called when nothing refers to it any more. */
void sub_end(struct sub *s);

/* ---- hub_channel.c ---- */

/* NULL: no memory. */
struct channel *channel_get(struct hub *h, const char *id);
/* Frees it when nobody needs it. */
void channel_drop(struct hub *h, struct channel *c);
/* Its row may have changed. */
void channel_hint(struct hub *h, struct channel *c);
/* A hint for a job's channel, if somebody follows it; `stage` as struct channel has it, or NULL. */
void hub_hint(struct hub *h, const char *job_id, const char *stage);
/* Looks at every job that has not ended. */
void hub_look_all(struct hub *h);
/* Reads it when a reader is free. */
void hub_read_later(struct hub *h, struct reading *r);
/* Starts reading what is to be read, as far as there are readers. */
void hub_read(struct hub *h);

#endif
