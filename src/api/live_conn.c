/* SPDX-License-Identifier: MIT */
/*
 * pump is the heart: it is called whenever something changed, and does what can be done next: send on, answer control
 * frames, close, ask for the next script, or rest.
 */
#include "api/live_conn.h"

#include "api/server.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 4096 };

static const struct log_ctx lc = {.component = "api"};

static void pump(struct conn *c);

/* ---- ends before the job's ---- */

struct departure {
    struct api *api;
    void (*left)(struct api *api, const char *job_id);
    char job_id[ID_SIZE];
};

static void departure_task(void *arg)
{
    struct departure *d = arg;
    d->left(d->api, d->job_id);
    atomic_fetch_sub(&d->api->tasks, 1);
    free(d);
}

/* Once. */
static void tell_left(struct conn *c)
{
    struct departure *d = c->left ? calloc(1, sizeof *d) : NULL;
    if (!d)
        return;
    d->api = c->api;
    d->left = TAKE(c->left);
    memcpy(d->job_id, c->job_id, sizeof d->job_id);
    atomic_fetch_add(&c->api->tasks, 1);
    if (!pool_try_run(c->api->storing, departure_task, d))
        departure_task(d);
}

/* The server stops. */
static void go_away(struct conn *c)
{
    const struct script_ask a = {
        .job_id = c->job_id, .format = c->format, .transport = c->transport, .place = c->place};
    tell_left(c);
    c->out = script_early_end(&a, LIVE_SERVER_STOPS);
    c->sent = 0;
    c->closing = !c->out;
}

/* ---- scripts ---- */

/* A script on its way, for all connections that were told the same. */
struct live_load {
    struct reading r;
    TAILQ_ENTRY(live_load) link; /* of the channel's */
    struct channel *channel;
    struct script_ask ask; /* its job_id is the channel's */
    TAILQ_HEAD(, conn) conns;
    struct script *script;
    int rc;
};

/* On a reader thread. */
static void read_script(struct reading *r)
{
    struct live_load *l = CONTAINER_OF(r, struct live_load, r);
    struct err err = ERR_INIT;
    l->rc = script_make(r->hub->o.store, &l->ask, &l->script, &err);
    if (l->rc < 0) {
        struct log_ctx job = {.component = "api", .job_id = l->ask.job_id};
        log_debug(&job, "followers cannot be told now: %s", err.msg);
    }
}

static void on_script(struct hub *h, struct post *p)
{
    struct live_load *l = CONTAINER_OF(p, struct live_load, r.post);
    h->reads--;
    if (l->r.skipped)
        l->rc = ERR_CANCELLED;
    if (l->rc < 0)
        l->channel->known = false; /* so that it is looked at again, even if its job has ended */
    TAILQ_REMOVE(&l->channel->loads, l, link);
    for (struct conn *c; (c = TAILQ_FIRST(&l->conns));) {
        TAILQ_REMOVE(&l->conns, c, join);
        c->load = NULL;
        if (c->closing || (l->rc < 0 && !c->draining))
            continue;
        if (l->rc < 0) {
            go_away(c);
        } else {
            c->out = script_ref(l->script);
            c->sent = 0;
        }
        pump(c);
    }
    l->channel->users--;
    channel_drop(h, l->channel);
    script_unref(l->script);
    free(l);
}

static bool same_ask(const struct live_load *l, const struct conn *c)
{
    return l->ask.format == c->format && l->ask.transport == c->transport && place_same(&l->ask.place, &c->place) &&
           strcmp(l->ask.stage, c->sub.channel->stage) == 0 && l->ask.position == c->sub.channel->position &&
           l->ask.paused == c->sub.channel->stand.paused;
}

/* Has it been told less than is known? */
static bool behind(const struct conn *c)
{
    const struct channel *ch = c->sub.channel;
    const struct place *p = &c->place;
    if (!p->started || c->more)
        return true;
    if (!ch->known)
        return false;
    if (!ch->stand.found || ch->stand.seq > p->row_seq)
        return true;
    if (ch->stand.seq < p->row_seq)
        return false; /* what is known of it here is older */
    if (ch->stand.state == JOB_PENDING)
        return c->format->position &&
               ((ch->position >= 0 && ch->position != p->position) || ch->stand.paused != p->paused);
    return ch->stand.state == JOB_PROCESSING && c->format->progress && strcmp(ch->stage, p->stage) != 0;
}

static void join(struct conn *c, struct live_load *l)
{
    c->load = l;
    TAILQ_INSERT_TAIL(&l->conns, c, join);
}

static void ask(struct conn *c)
{
    struct channel *ch = c->sub.channel;
    struct live_load *l;
    TAILQ_FOREACH(l, &ch->loads, link)
    {
        /* One that is being read may be older than what the channel knows: what it brings is told, and then behind. */
        if (same_ask(l, c)) {
            join(c, l);
            return;
        }
    }
    l = calloc(1, sizeof *l);
    if (!l) {
        ch->known = false; /* the next look brings it here again */
        return;
    }
    TAILQ_INIT(&l->conns);
    l->channel = ch;
    ch->users++;
    l->ask = (struct script_ask){.job_id = ch->id,
                                 .format = c->format,
                                 .transport = c->transport,
                                 .place = c->place,
                                 .position = ch->position,
                                 .known = ch->known,
                                 .paused = ch->stand.paused};
    memcpy(l->ask.stage, ch->stage, sizeof l->ask.stage);
    l->r.read = read_script;
    l->r.post.run = on_script;
    TAILQ_INSERT_TAIL(&ch->loads, l, link);
    join(c, l);
    hub_read_later(c->sub.hub, &l->r);
}

/* ---- the socket ---- */

/* It is over, one way or the other. */
static void end(struct conn *c)
{
    if (c->sub.dead)
        return;
    if (c->load)
        TAILQ_REMOVE(&c->load->conns, c, join);
    c->load = NULL;
    if (!c->told_all)
        tell_left(c);
    sub_end(&c->sub);
}

static void watch(struct conn *c, unsigned events)
{
    struct epoll_event e = {.events = events, .data.ptr = &c->sub};
    if (events == c->watched)
        return;
    c->watched = events;
    if (epoll_ctl(c->sub.hub->epoll, EPOLL_CTL_MOD, c->sub.fd, &e) < 0)
        log_debug(&lc, "cannot watch a connection: %m");
}

static void set_timer(struct conn *c, int64_t in_ms)
{
    struct err err = ERR_INIT;
    if (timer_set(&c->sub.hub->timers, &c->sub.timer, clock_mono_ms() + in_ms, &err) < 0)
        end(c);
}

/* 1: all went out, 0: not now, negative: the peer is gone. */
static int send_all(struct conn *c, const char *p, size_t n, size_t *sent)
{
    while (*sent < n) {
        ssize_t k = send(c->sub.fd, p + *sent, n - *sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0 && errno != EAGAIN)
            return -1;
        if (k < 0) {
            if (!c->stuck_since_ms)
                c->stuck_since_ms = clock_mono_ms();
            return 0;
        }
        c->stuck_since_ms = 0;
        *sent += (size_t)k;
    }
    return 1;
}

static int send_script(struct conn *c)
{
    int rc = send_all(c, c->out->bytes, c->out->len, &c->sent);
    if (rc <= 0)
        return rc;
    c->place = c->out->place;
    c->more = c->out->more;
    if (c->out->last) {
        c->told_all = c->closing = true;
        buf_clear(&c->control); /* whole frames: nothing may stand behind a close frame */
    }
    if (c->place.position >= 0 && !c->place.paused && c->sub.channel->position < 0)
        c->sub.channel->position = c->place.position;
    script_unref(TAKE(c->out));
    return 1;
}

static int send_control(struct conn *c)
{
    size_t sent = 0;
    int rc = send_all(c, buf_str(&c->control), c->control.len, &sent);
    if (rc > 0)
        buf_clear(&c->control);
    else
        buf_consume(&c->control, sent);
    c->control_cut = c->control.len > 0;
    return rc;
}

/*
 * Nothing is left to say. The connection is not closed at once: if the peer sent something meanwhile it would be reset,
 * and the peer would lose what it has not read yet.
 */
static void say_goodbye(struct conn *c)
{
    c->goodbye = true;
    shutdown(c->sub.fd, SHUT_WR);
    set_timer(c, c->draining ? LIVE_DRAIN_MS : LIVE_GOODBYE_MS);
    if (!c->sub.dead)
        watch(c, EPOLLIN | EPOLLRDHUP);
}

/* One step: 1: there may be a next one, 0: the socket takes no more now, 2: nothing to do, negative: the peer is gone.
 */
static int step(struct conn *c)
{
    /* A script first, so that nothing comes within it; but a frame that went out by half is sent to its end before. */
    if (c->out && !c->control_cut)
        return send_script(c);
    if (c->control.len)
        return send_control(c);
    if (c->closing) {
        if (!c->goodbye)
            say_goodbye(c);
        return 2;
    }
    if (!c->load && behind(c)) {
        ask(c);
    } else if (!c->load && c->draining) {
        go_away(c);
        return 1;
    }
    return 2;
}

static void pump(struct conn *c)
{
    int rc = 1;
    while (rc == 1 && !c->sub.dead)
        rc = step(c);
    if (rc < 0)
        end(c);
    if (c->sub.dead)
        return;
    /* While answers to the peer wait to be sent, what else it sends has to wait, too. */
    watch(c, EPOLLRDHUP | (rc == 0 ? EPOLLOUT : 0u) | (c->control.len ? 0u : EPOLLIN));
}

static void on_input(struct conn *c)
{
    char piece[READ_BYTES];
    ssize_t n = recv(c->sub.fd, piece, sizeof piece, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        end(c);
        return;
    }
    c->awaits_pong = false;
    if (c->transport == LIVE_SSE || c->closing)
        return; /* whatever it is, it is not for us */
    enum ws_state state = ws_feed(&c->in, piece, (size_t)n, &c->control);
    if (state == WS_FAILED) {
        end(c);
        return;
    }
    c->closing = state == WS_CLOSED;
    pump(c);
}

static struct conn *of(struct sub *s)
{
    return CONTAINER_OF(s, struct conn, sub);
}

static void on_ready(struct sub *s, unsigned events)
{
    struct conn *c = of(s);
    if (events & (EPOLLERR | EPOLLHUP) || (events & EPOLLRDHUP && !(c->watched & EPOLLIN)))
        end(c);
    else if (events & (EPOLLIN | EPOLLRDHUP))
        on_input(c);
    if (!s->dead && events & EPOLLOUT)
        pump(c);
}

static void on_moved(struct sub *s)
{
    struct conn *c = of(s);
    if (!c->out && !c->load && !c->closing)
        pump(c);
}

static void on_late(struct sub *s)
{
    struct conn *c = of(s);
    bool stuck = c->stuck_since_ms ? clock_mono_ms() - c->stuck_since_ms > LIVE_STUCK_MS : c->awaits_pong;
    if (c->goodbye || c->draining || stuck) {
        end(c);
        return;
    }
    if (!c->out && !c->control.len) {
        if (c->transport == LIVE_WEBSOCKET) {
            ws_add_ping(&c->control);
            c->awaits_pong = true;
        } else {
            buf_adds(&c->control, ":\n\n");
        }
    }
    set_timer(c, c->api->o.live_ping_ms);
    if (!s->dead)
        pump(c);
}

static void on_drain(struct sub *s)
{
    struct conn *c = of(s);
    if (c->draining)
        return;
    c->draining = true;
    set_timer(c, LIVE_DRAIN_MS);
    if (!s->dead && !c->load)
        pump(c);
}

/* ---- its life ---- */

static void conn_free(struct conn *c)
{
    close_fd(&c->sub.fd);
    if (c->load)
        TAILQ_REMOVE(&c->load->conns, c, join);
    script_unref(c->out);
    buf_clear(&c->control);
    ws_in_free(c->in);
    atomic_fetch_sub(&c->api->live, 1);
    free(c);
}

static void on_free(struct sub *s)
{
    conn_free(of(s));
}

static const struct sub_ops ops = {
    .ready = on_ready, .moved = on_moved, .late = on_late, .drain = on_drain, .free = on_free};

static void on_start(struct hub *h, struct post *p)
{
    struct conn *c = CONTAINER_OF(p, struct conn, post);
    struct err err = ERR_INIT;
    c->watched = EPOLLIN | EPOLLRDHUP;
    int64_t ping_ms = clock_mono_ms() + c->api->o.live_ping_ms;
    if (sub_start(h, &c->sub, c->job_id, c->watched, ping_ms, &err) < 0) {
        log_warn(&lc, "a live connection is dropped: %s", err.msg);
        conn_free(c);
        return;
    }
    if (!c->sub.dead)
        pump(c);
}

struct conn *conn_new(struct api *api, int fd, const struct live_opts *o, const void *head, size_t n)
{
    struct conn *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->sub.ops = &ops;
    c->sub.fd = fd;
    c->api = api;
    c->format = o->format;
    c->transport = o->transport;
    c->left = o->left;
    c->place = (struct place){.from_now = o->since < 0, .seq = MAX(o->since, 0), .position = -1};
    snprintf(c->job_id, sizeof c->job_id, "%s", o->job_id);
    buf_init(&c->control, LIVE_CONTROL_MAX);
    c->out = script_of_bytes(head, n, &c->place);
    if (!c->out) {
        free(c);
        return NULL;
    }
    return c;
}

void conn_start(struct conn *c)
{
    c->post.run = on_start;
    hub_post(c->api->hub, &c->post);
}
