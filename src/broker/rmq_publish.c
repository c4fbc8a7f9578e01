/* SPDX-License-Identifier: MIT */
/*
 * Callers put a request on a list and wait for it; the thread takes requests off the list, sends them and answers
 * when the server does. A request lives on its caller's stack: the thread touches it under the mutex only, and a
 * caller that has waited long enough takes it back under the mutex too. So what is being written to the socket, which
 * happens outside of it, is the thread's own copy.
 *
 * The server numbers the messages of a channel from 1 and confirms by number, one or all up to one. `slots` holds
 * who waits for which; WINDOW bounds what is under way.
 *
 * Questions about a queue go over a channel of their own and are answered in their order. They are not put by
 * librabbitmq's calls for that, which would keep the thread from everything else until the answer is there. The depth
 * is the answer to a passive declaration.
 */
#include "broker/rmq_publish.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "broker/broker_msg.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { WINDOW = 128, QUESTIONS = 16, MESSAGES = 1, ASKING = 2 };

static const struct log_ctx lc = {.component = "broker"};

enum question { ASK_DEPTH, ASK_TO_PURGE, ASK_TO_DROP_ONE };

/* What a caller waits for. */
struct request {
    struct request *next;
    const struct rmq_message *m; /* to send; NULL: a question about `queue` */
    enum question question;
    const char *queue;
    int64_t depth; /* the answer: messages that are left; -1: ASK_TO_DROP_ONE found none */
    bool done;
    int rc;
    struct err err;
    pthread_cond_t answered;
};

/* A message on its way. */
struct slot {
    bool open;         /* not confirmed yet */
    struct request *r; /* NULL: the caller has given up */
};

struct rmq_publisher {
    const struct rmq_address *address;
    struct rmq_names *names;
    struct line line; /* of the thread */
    struct rmq_conn conn;
    pthread_t thread;
    int wake; /* eventfd */

    pthread_mutex_t mu;
    pthread_cond_t tried; /* the first try to connect is over, or the thread is */
    /* guarded by mu: */
    bool stopping, ended;
    bool tried_once, up;
    bool blocked;   /* by the server */
    bool silent;    /* a caller waited in vain: until the server answers, no other shall */
    struct err why; /* when not up, blocked */
    struct request *first, **last;
    struct slot slots[WINDOW];
    uint64_t sent, confirmed; /* numbers of the newest message, and of the newest before which all are confirmed */
    struct request *asking[QUESTIONS];
    unsigned asked, told; /* questions and answers so far */
    bool misrouted;       /* a queue is gone: make it again */
};

/* ---- requests ---- */

static void answer(struct request *r, int rc, const struct err *why)
{
    if (!r)
        return;
    r->rc = rc;
    if (rc < 0)
        r->err = *why;
    r->done = true;
    pthread_cond_signal(&r->answered);
}

static void refuse(struct request *r, const char *why)
{
    struct err err = ERR_INIT;
    answer(r, err_set(&err, ERR_UNAVAILABLE, "%s", why), &err);
}

/* Is there a point in waiting? */
static int admit(const struct rmq_publisher *p, struct err *err)
{
    if (p->tried_once && !p->up)
        return err_set(err, ERR_UNAVAILABLE, "%s", p->why.msg);
    if (p->blocked)
        return err_set(err, ERR_UNAVAILABLE, "%s", p->why.msg);
    if (p->silent && (p->confirmed < p->sent || p->told != p->asked))
        return err_set(err, ERR_UNAVAILABLE, "RabbitMQ does not answer");
    return 0;
}

static void append(struct rmq_publisher *p, struct request *r)
{
    *p->last = r;
    p->last = &r->next;
}

static struct request *take_first(struct rmq_publisher *p)
{
    struct request *r = p->first;
    if (r && !(p->first = r->next))
        p->last = &p->first;
    return r;
}

/* The caller gives up: nobody may know the request any more. */
static void forget(struct rmq_publisher *p, const struct request *r)
{
    for (struct request **at = &p->first; *at; at = &(*at)->next)
        if (*at == r) {
            *at = r->next;
            if (!*at)
                p->last = at;
            break;
        }
    for (size_t i = 0; i < WINDOW; i++)
        if (p->slots[i].r == r)
            p->slots[i].r = NULL;
    for (size_t i = 0; i < QUESTIONS; i++)
        if (p->asking[i] == r)
            p->asking[i] = NULL;
}

static void wake(const struct rmq_publisher *p)
{
    /* Fails only on a full counter, which is readable already. */
    (void)eventfd_write(p->wake, 1);
}

static int submit(struct rmq_publisher *p, struct request *r, struct err *err)
{
    int64_t until = clock_mono_ms() + LINK_PATIENCE_MS, left;
    cond_init(&r->answered);
    pthread_mutex_lock(&p->mu);
    int rc = admit(p, err);
    if (rc == 0) {
        append(p, r);
        wake(p);
        while (!r->done && (left = until - clock_mono_ms()) > 0)
            cond_wait_ms(&r->answered, &p->mu, left);
        if (!r->done) {
            forget(p, r);
            refuse(r, "RabbitMQ did not answer in time");
            p->silent = true;
        }
        rc = r->rc;
        if (rc < 0)
            *err = r->err;
    }
    pthread_mutex_unlock(&p->mu);
    pthread_cond_destroy(&r->answered);
    return rc;
}

/* ---- sending ---- */

/* Of the message that is being written. */
struct outgoing {
    char exchange[RMQ_NAME_MAX + 1], key[RMQ_NAME_MAX + 1], expires[24], body[BROKER_MSG_MAX];
    size_t len;
    bool lasting;
    bool asks;
    enum question question; /* about the queue `key` */
};

static void copy_text(char *to, size_t size, const char *from)
{
    size_t n = from ? strnlen(from, size - 1) : 0;
    if (n)
        memcpy(to, from, n);
    to[n] = '\0';
}

/* The next request becomes one on its way. False: nothing to send, or no room for more. */
static bool take_next(struct rmq_publisher *p, struct outgoing *out)
{
    bool got = false;
    pthread_mutex_lock(&p->mu);
    struct request *r = p->first;
    if (r && !r->m && p->asked - p->told < QUESTIONS) {
        p->asking[p->asked++ % QUESTIONS] = take_first(p);
        copy_text(out->key, sizeof out->key, r->queue);
        out->question = r->question;
        out->asks = got = true;
    } else if (r && r->m && !p->blocked && p->sent - p->confirmed < WINDOW) {
        take_first(p);
        p->sent++;
        p->slots[p->sent % WINDOW] = (struct slot){.open = true, .r = r};
        copy_text(out->exchange, sizeof out->exchange, r->m->exchange);
        copy_text(out->key, sizeof out->key, r->m->key);
        copy_text(out->expires, sizeof out->expires, r->m->expires_ms);
        out->len = MIN(r->m->len, sizeof out->body);
        memcpy(out->body, r->m->body, out->len);
        out->lasting = r->m->lasting;
        out->asks = false;
        got = true;
    }
    pthread_mutex_unlock(&p->mu);
    return got;
}

static int publish(struct rmq_conn *c, const struct outgoing *out, struct err *err)
{
    amqp_basic_properties_t props = {
        ._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG |
                  (*out->expires ? AMQP_BASIC_EXPIRATION_FLAG : 0),
        .content_type = amqp_cstring_bytes(out->lasting ? "application/json" : "text/plain"),
        .delivery_mode = out->lasting ? AMQP_DELIVERY_PERSISTENT : AMQP_DELIVERY_NONPERSISTENT,
        .expiration = amqp_cstring_bytes(out->expires),
    };
    /* The library wants a pointer to what it only reads. */
    union {
        const char *in;
        void *out;
    } body = {.in = out->body};
    return rmq_conn_status(amqp_basic_publish(c->c, MESSAGES, amqp_cstring_bytes(out->exchange),
                                              amqp_cstring_bytes(out->key), out->lasting, 0, &props,
                                              (amqp_bytes_t){.len = out->len, .bytes = body.out}),
                           "sending", err);
}

static int ask(struct rmq_conn *c, const struct outgoing *out, struct err *err)
{
    amqp_bytes_t queue = amqp_cstring_bytes(out->key);
    amqp_queue_declare_t depth = {.queue = queue, .passive = 1};
    amqp_queue_purge_t purge = {.queue = queue};
    amqp_basic_get_t get = {.queue = queue, .no_ack = 1};
    int status = AMQP_STATUS_OK;
    switch (out->question) {
    case ASK_DEPTH:
        status = amqp_send_method(c->c, ASKING, AMQP_QUEUE_DECLARE_METHOD, &depth);
        break;
    case ASK_TO_PURGE:
        status = amqp_send_method(c->c, ASKING, AMQP_QUEUE_PURGE_METHOD, &purge);
        break;
    case ASK_TO_DROP_ONE:
        status = amqp_send_method(c->c, ASKING, AMQP_BASIC_GET_METHOD, &get);
        break;
    }
    return rmq_conn_status(status, "asking", err);
}

/* ---- what the server says ---- */

static void settle(struct rmq_publisher *p, uint64_t number, bool taken)
{
    struct slot *s = &p->slots[number % WINDOW];
    if (taken)
        answer(s->r, 0, NULL);
    else
        refuse(s->r, "RabbitMQ refuses the message: the queue is full");
    *s = (struct slot){.open = false};
}

/* Numbers from the server are not trusted: only those under way count. */
static void on_confirm(struct rmq_publisher *p, uint64_t number, bool multiple, bool taken)
{
    if (number > p->sent || number <= p->confirmed)
        return;
    p->silent = false;
    for (uint64_t n = multiple ? p->confirmed + 1 : number; n <= number; n++)
        if (p->slots[n % WINDOW].open)
            settle(p, n, taken);
    while (p->confirmed < p->sent && !p->slots[(p->confirmed + 1) % WINDOW].open)
        p->confirmed++;
}

/* Comes before the confirm. Whatever else is under way to the same place is lost as well. */
static void on_return(struct rmq_publisher *p, amqp_bytes_t key)
{
    p->misrouted = true;
    for (size_t i = 0; i < WINDOW; i++) {
        struct request *r = p->slots[i].r;
        if (!r || strlen(r->m->key) != key.len || memcmp(r->m->key, key.bytes, key.len) != 0)
            continue;
        refuse(r, "RabbitMQ has no queue for the message any more");
        p->slots[i].r = NULL;
    }
}

static void on_answer(struct rmq_publisher *p, int64_t depth)
{
    if (p->told == p->asked)
        return;
    p->silent = false;
    struct request *r = p->asking[p->told++ % QUESTIONS];
    if (r)
        r->depth = depth;
    answer(r, 0, NULL);
}

static void on_blocked(struct rmq_publisher *p, bool blocked)
{
    p->blocked = blocked;
    if (!blocked)
        return;
    err_set(&p->why, ERR_UNAVAILABLE, "RabbitMQ accepts no messages for now: it is short of memory or disk space");
    struct request *r;
    while ((r = take_first(p)))
        refuse(r, p->why.msg);
}

static int on_channel_closed(struct rmq_publisher *p, const amqp_frame_t *f, struct err *err)
{
    int code;
    int rc = rmq_conn_channel_closed(&p->conn, f, &code, err);
    if (f->channel == ASKING && code == AMQP_NOT_FOUND)
        p->misrouted = true;
    return rc;
}

static int on_frame(struct rmq_publisher *p, const amqp_frame_t *f, struct err *err)
{
    if (f->frame_type != AMQP_FRAME_METHOD)
        return 0; /* the content of a returned message, or of one that was dropped */
    const void *m = f->payload.method.decoded;
    switch (f->payload.method.id) {
    case AMQP_BASIC_ACK_METHOD:
        on_confirm(p, ((const amqp_basic_ack_t *)m)->delivery_tag, ((const amqp_basic_ack_t *)m)->multiple, true);
        return 0;
    case AMQP_BASIC_NACK_METHOD:
        on_confirm(p, ((const amqp_basic_nack_t *)m)->delivery_tag, ((const amqp_basic_nack_t *)m)->multiple, false);
        return 0;
    case AMQP_BASIC_RETURN_METHOD:
        on_return(p, ((const amqp_basic_return_t *)m)->routing_key);
        return 0;
    case AMQP_QUEUE_DECLARE_OK_METHOD:
        on_answer(p, ((const amqp_queue_declare_ok_t *)m)->message_count);
        return 0;
    case AMQP_QUEUE_PURGE_OK_METHOD:
        on_answer(p, 0);
        return 0;
    case AMQP_BASIC_GET_OK_METHOD:
        on_answer(p, ((const amqp_basic_get_ok_t *)m)->message_count);
        return 0;
    case AMQP_BASIC_GET_EMPTY_METHOD:
        on_answer(p, -1);
        return 0;
    case AMQP_CONNECTION_BLOCKED_METHOD:
        log_warn(&lc, "RabbitMQ accepts no messages for now: it is short of memory or disk space");
        on_blocked(p, true);
        return 0;
    case AMQP_CONNECTION_UNBLOCKED_METHOD:
        log_info(&lc, "RabbitMQ accepts messages again");
        on_blocked(p, false);
        return 0;
    case AMQP_CHANNEL_CLOSE_METHOD:
        return on_channel_closed(p, f, err);
    default:
        return 0;
    }
}

/* ---- the thread ---- */

static int read_frames(struct rmq_publisher *p, struct err *err)
{
    amqp_frame_t f;
    int rc;
    while ((rc = rmq_conn_next(&p->conn, &f, err)) > 0) {
        pthread_mutex_lock(&p->mu);
        rc = on_frame(p, &f, err);
        if (rc == 0 && p->misrouted)
            rc = err_set(err, ERR_UNAVAILABLE, "a queue is gone from RabbitMQ; it is made again");
        pthread_mutex_unlock(&p->mu);
        if (rc < 0)
            return rc;
    }
    if (rc == 0)
        rmq_conn_drained(&p->conn);
    return rc;
}

static bool wants_to_write(struct rmq_publisher *p)
{
    pthread_mutex_lock(&p->mu);
    const struct request *r = p->first;
    bool wants = r && (!r->m ? p->asked - p->told < QUESTIONS : !p->blocked && p->sent - p->confirmed < WINDOW);
    pthread_mutex_unlock(&p->mu);
    return wants;
}

static bool is_stopping(struct rmq_publisher *p)
{
    pthread_mutex_lock(&p->mu);
    bool stopping = p->stopping;
    pthread_mutex_unlock(&p->mu);
    return stopping;
}

/* Until the connection is lost or the broker closes. One message at a time goes to a socket that has room: the thread
 * is not to hang in a write. */
static int serve(struct rmq_publisher *p, struct err *err)
{
    bool look = true; /* frames may have come with the last answer of the set-up */
    while (!is_stopping(p)) {
        short events = wants_to_write(p) ? POLLIN | POLLOUT : POLLIN;
        struct pollfd fds[] = {{.fd = p->conn.fd, .events = events}, {.fd = p->wake, .events = POLLIN}};
        int ready = poll(fds, ARRAY_LEN(fds), look ? 0 : RMQ_TICK_MS);
        if (ready < 0 && errno != EINTR)
            return err_set(err, ERR_UNAVAILABLE, "waiting for RabbitMQ failed");
        eventfd_t count;
        if (fds[1].revents && eventfd_read(p->wake, &count) < 0)
            continue;
        /* Without anything to read still once in a while, for the heartbeat. */
        look = look || ready <= 0 || fds[0].revents & ~POLLOUT;
        int rc = look ? read_frames(p, err) : 0;
        look = false;
        struct outgoing out;
        if (rc == 0 && fds[0].revents & POLLOUT && take_next(p, &out))
            rc = out.asks ? ask(&p->conn, &out, err) : publish(&p->conn, &out, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int set_up(struct rmq_publisher *p, struct err *err)
{
    int code;
    int rc = rmq_conn_open(&p->conn, p->address, "steno: sends", err);
    if (rc < 0)
        return rc;
    rc = rmq_conn_channel(&p->conn, MESSAGES, err);
    if (rc == 0)
        rc = rmq_names_declare(p->names, &p->conn, MESSAGES, err);
    if (rc == 0) {
        amqp_confirm_select(p->conn.c, MESSAGES);
        rc = rmq_conn_reply(&p->conn, MESSAGES, amqp_get_rpc_reply(p->conn.c), "asking for confirms", &code, err);
    }
    if (rc == 0)
        rc = rmq_conn_channel(&p->conn, ASKING, err);
    if (rc < 0)
        rmq_conn_close(&p->conn, false);
    return rc;
}

/* The line is up, or down for the reason given; what was under way fails. */
static void set_state(struct rmq_publisher *p, bool up, const struct err *why)
{
    pthread_mutex_lock(&p->mu);
    p->up = up;
    p->tried_once = true;
    if (!up) {
        p->why = *why;
        struct request *r;
        while ((r = take_first(p)))
            answer(r, ERR_UNAVAILABLE, why);
        for (size_t i = 0; i < WINDOW; i++)
            answer(p->slots[i].r, ERR_UNAVAILABLE, why);
        for (; p->told != p->asked; p->told++)
            answer(p->asking[p->told % QUESTIONS], ERR_UNAVAILABLE, why);
    }
    memset(p->slots, 0, sizeof p->slots);
    p->sent = p->confirmed = 0;
    p->blocked = p->silent = p->misrouted = false;
    pthread_cond_broadcast(&p->tried);
    pthread_mutex_unlock(&p->mu);
}

static void rest(struct rmq_publisher *p)
{
    int64_t ms;
    while (!is_stopping(p) && (ms = line_due_ms(&p->line)) > 0) {
        struct pollfd fd = {.fd = p->wake, .events = POLLIN};
        eventfd_t count;
        if (poll(&fd, 1, (int)ms) > 0 && eventfd_read(p->wake, &count) < 0)
            continue;
    }
}

static void *publisher_main(void *arg)
{
    struct rmq_publisher *p = arg;
    while (!is_stopping(p)) {
        struct err err = ERR_INIT;
        int rc = set_up(p, &err);
        if (rc == 0) {
            line_up(&p->line);
            set_state(p, true, NULL);
            rc = serve(p, &err);
            rmq_conn_close(&p->conn, rc == 0 && !p->blocked);
        }
        if (rc < 0) {
            line_down(&p->line, &err);
            set_state(p, false, &err);
            rest(p);
        }
    }
    pthread_mutex_lock(&p->mu);
    p->ended = true;
    pthread_cond_broadcast(&p->tried);
    pthread_mutex_unlock(&p->mu);
    return NULL;
}

/* ---- the object ---- */

int rmq_publisher_new(struct link *link, const struct rmq_address *a, struct rmq_names *n, struct rmq_publisher **ret,
                      struct err *err)
{
    struct rmq_publisher *p = xcalloc(1, sizeof *p);
    p->address = a;
    p->names = n;
    p->last = &p->first;
    line_init(&p->line, link, 1U << 0);
    rmq_conn_init(&p->conn);
    pthread_mutex_init(&p->mu, NULL);
    cond_init(&p->tried);
    p->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int rc = p->wake < 0 ? err_sys(err, errno, "cannot make an eventfd") : 0;
    if (rc == 0)
        rc = thread_start(&p->thread, "rmq-publish", publisher_main, p, err);
    if (rc < 0) {
        p->ended = true;
        rmq_publisher_free(p);
        return rc;
    }
    *ret = p;
    return 0;
}

void rmq_publisher_settle(struct rmq_publisher *p, int64_t until)
{
    int64_t left;
    pthread_mutex_lock(&p->mu);
    while (!p->tried_once && (left = until - clock_mono_ms()) > 0)
        cond_wait_ms(&p->tried, &p->mu, left);
    pthread_mutex_unlock(&p->mu);
}

void rmq_publisher_free(struct rmq_publisher *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->mu);
    bool started = !p->ended;
    int64_t until = clock_mono_ms() + 2 * LINK_PATIENCE_MS, left;
    p->stopping = true;
    wake(p);
    while (!p->ended && (left = until - clock_mono_ms()) > 0)
        cond_wait_ms(&p->tried, &p->mu, left);
    if (!p->ended) /* it hangs: in a write to a server that does not read, or in a call */
        rmq_conn_abort(&p->conn);
    pthread_mutex_unlock(&p->mu);
    if (started)
        pthread_join(p->thread, NULL);
    close_fd(&p->wake);
    rmq_conn_clear(&p->conn);
    pthread_cond_destroy(&p->tried);
    pthread_mutex_destroy(&p->mu);
    free(p);
}

int rmq_publisher_send(struct rmq_publisher *p, const struct rmq_message *m, struct err *err)
{
    struct request r = {.m = m};
    return submit(p, &r, err);
}

static int put_question(struct rmq_publisher *p, enum question q, const char *queue, int64_t *ret, struct err *err)
{
    struct request r = {.question = q, .queue = queue};
    int rc = submit(p, &r, err);
    if (rc == 0)
        *ret = r.depth;
    return rc;
}

int rmq_publisher_depth(struct rmq_publisher *p, const char *queue, int64_t *ret, struct err *err)
{
    return put_question(p, ASK_DEPTH, queue, ret, err);
}

int rmq_publisher_trim(struct rmq_publisher *p, const char *queue, int64_t surplus, int64_t keep, struct err *err)
{
    int64_t depth = 0;
    int rc = put_question(p, ASK_DEPTH, queue, &depth, err);
    surplus = MIN(surplus, depth - keep);
    /* A token that is lost so is sent again two sweeps later; a thousand round trips for each thousand are dearer. */
    if (rc == 0 && surplus > RMQ_TRIM_MAX && surplus == depth)
        return put_question(p, ASK_TO_PURGE, queue, &depth, err);
    for (int i = 0; rc == 0 && depth > keep && i < MIN(surplus, RMQ_TRIM_MAX); i++)
        rc = put_question(p, ASK_TO_DROP_ONE, queue, &depth, err);
    return rc;
}
