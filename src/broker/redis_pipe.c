/* SPDX-License-Identifier: MIT */
#include "broker/redis_pipe.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"

#include <stdlib.h>
#include <string.h>

enum { BATCH_BYTES = 1 << 20, BATCH_COMMANDS = 4096, PING_MS = 5000, OPEN_MS = 2 * LINK_PATIENCE_MS };

/* A command whose caller waits; on that caller's stack until it is done. */
struct call {
    bool done, stores;
    int rc;
    int64_t integer;
    struct err err;
};

struct batch {
    struct buf bytes;
    struct call *calls[BATCH_COMMANDS]; /* NULL: nobody waits */
    size_t n;
};

struct redis_pipe {
    const struct redis_addr *addr; /* of whoever opened */
    pthread_t thread;
    /* of the thread: */
    redisContext *c;
    struct line line, refusal; /* the connection; is what would be stored refused? */
    bool refused;
    struct batch *flying;

    pthread_mutex_t mu;
    pthread_cond_t posted, done, room;
    /* guarded by mu: */
    bool tried, up, closing;
    struct batch *filling;
    struct err why; /* while not up */
};

/* ---- the thread ---- */

static void finish_call(struct redis_pipe *p, struct call *call, int rc, int64_t integer, const struct err *err)
{
    if (!call)
        return;
    pthread_mutex_lock(&p->mu);
    call->rc = rc;
    call->integer = integer;
    call->err = *err;
    call->done = true;
    pthread_mutex_unlock(&p->mu);
}

static void fail_batch(struct batch *b, size_t from, const struct err *why)
{
    for (size_t i = from; i < b->n; i++)
        if (b->calls[i]) {
            b->calls[i]->rc = ERR_UNAVAILABLE;
            b->calls[i]->err = *why;
            b->calls[i]->done = true;
        }
}

static void clear_batch(struct batch *b)
{
    buf_reset(&b->bytes);
    b->n = 0;
}

static void take_answer(struct redis_pipe *p, struct call *call, const redisReply *r)
{
    struct err err = ERR_INIT;
    int rc = redis_check(p->addr, r, &err);
    if (rc < 0 && !p->refused) {
        p->refused = true;
        line_down(&p->refusal, &err);
    } else if (rc >= 0 && p->refused && call && call->stores) {
        p->refused = false;
        line_up(&p->refusal);
    }
    finish_call(p, call, rc, r->type == REDIS_REPLY_INTEGER ? r->integer : 0, &err);
}

/* Writes the batch and reads its answers; how many came. */
static size_t fly(struct redis_pipe *p, struct err *err)
{
    struct batch *b = p->flying;
    size_t n = 0;
    if (redisAppendFormattedCommand(p->c, b->bytes.data, b->bytes.len) == REDIS_OK)
        for (; n < b->n; n++) {
            redisReply *r = NULL;
            if (redisGetReply(p->c, (void **)&r) != REDIS_OK || !r)
                break;
            take_answer(p, b->calls[n], r);
            freeReplyObject(r);
        }
    if (n < b->n)
        redis_lost(p->addr, p->c, err);
    return n;
}

static void connect_once(struct redis_pipe *p)
{
    struct err err = ERR_INIT;
    int rc = redis_open(p->addr, &p->c, &err);
    if (rc < 0)
        line_down(&p->line, &err);
    else
        line_up(&p->line);
    pthread_mutex_lock(&p->mu);
    p->tried = true;
    p->up = rc >= 0;
    p->why = err;
    pthread_cond_broadcast(&p->done);
    pthread_mutex_unlock(&p->mu);
}

/* Sends what was posted. */
static void send_batch(struct redis_pipe *p)
{
    struct err err = ERR_INIT;
    size_t n = fly(p, &err);
    bool lost = n < p->flying->n;
    if (lost) {
        redisFree(TAKE(p->c));
        line_down(&p->line, &err);
    }
    pthread_mutex_lock(&p->mu);
    if (lost) {
        p->up = false;
        p->why = err;
        fail_batch(p->flying, n, &err);
        fail_batch(p->filling, 0, &err);
        clear_batch(p->filling);
    }
    clear_batch(p->flying);
    pthread_cond_broadcast(&p->done);
    pthread_cond_broadcast(&p->room);
    pthread_mutex_unlock(&p->mu);
}

static void add_ping(struct batch *b)
{
    static const char *const ping[] = {"PING"};
    static const size_t len = 4;
    redis_add(&b->bytes, 1, ping, &len);
    b->calls[b->n++] = NULL;
}

/* Waits until there is something to do. False: the end, and nothing is left to send. */
static bool await(struct redis_pipe *p)
{
    pthread_mutex_lock(&p->mu);
    if (p->up) {
        if (!p->filling->n && !p->closing && !cond_wait_ms(&p->posted, &p->mu, PING_MS) && !p->filling->n)
            add_ping(p->filling);
        struct batch *b = p->flying;
        p->flying = p->filling;
        p->filling = b;
    } else {
        int64_t due = line_due_ms(&p->line);
        if (due > 0 && !p->closing)
            cond_wait_ms(&p->posted, &p->mu, due);
    }
    bool go_on = !p->closing || (p->up && p->flying->n);
    pthread_cond_broadcast(&p->room);
    pthread_mutex_unlock(&p->mu);
    return go_on;
}

static void *pipe_main(void *arg)
{
    struct redis_pipe *p = arg;
    connect_once(p);
    while (await(p)) {
        if (p->c && p->flying->n)
            send_batch(p);
        else if (!p->c && line_due_ms(&p->line) == 0)
            connect_once(p);
    }
    return NULL;
}

/* ---- callers ---- */

static void free_pipe(struct redis_pipe *p)
{
    if (p->c)
        redisFree(p->c);
    buf_clear(&p->flying->bytes);
    buf_clear(&p->filling->bytes);
    free(p->flying);
    free(p->filling);
    pthread_cond_destroy(&p->posted);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->room);
    pthread_mutex_destroy(&p->mu);
    free(p);
}

int redis_pipe_open(const struct redis_addr *a, struct link *l, const unsigned bits[2], struct redis_pipe **ret,
                    struct err *err)
{
    struct redis_pipe *p = xcalloc(1, sizeof *p);
    p->addr = a;
    p->flying = xcalloc(1, sizeof *p->flying);
    p->filling = xcalloc(1, sizeof *p->filling);
    buf_init(&p->flying->bytes, BATCH_BYTES);
    buf_init(&p->filling->bytes, BATCH_BYTES);
    line_init(&p->line, l, bits[0]);
    line_init(&p->refusal, l, bits[1]);
    pthread_mutex_init(&p->mu, NULL);
    cond_init(&p->posted);
    cond_init(&p->done);
    cond_init(&p->room);
    err_set(&p->why, ERR_UNAVAILABLE, "the broker %s is not connected yet", a->url.label);
    int rc = thread_start(&p->thread, "redis", pipe_main, p, err);
    if (rc < 0) {
        free_pipe(p);
        return rc;
    }
    /* Looking up a name may take much longer than connecting; then it goes on in the background. */
    int64_t until = clock_mono_ms() + OPEN_MS, left = OPEN_MS;
    pthread_mutex_lock(&p->mu);
    while (!p->tried && left > 0) {
        cond_wait_ms(&p->done, &p->mu, left);
        left = until - clock_mono_ms();
    }
    pthread_mutex_unlock(&p->mu);
    *ret = p;
    return 0;
}

void redis_pipe_close(struct redis_pipe *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->mu);
    p->closing = true;
    pthread_cond_broadcast(&p->posted);
    pthread_mutex_unlock(&p->mu);
    pthread_join(p->thread, NULL);
    free_pipe(p);
}

bool redis_pipe_is_up(struct redis_pipe *p)
{
    pthread_mutex_lock(&p->mu);
    bool up = p->up;
    pthread_mutex_unlock(&p->mu);
    return up;
}

static bool is_full(const struct batch *b, size_t bytes)
{
    return b->n == BATCH_COMMANDS || bytes > BATCH_BYTES - b->bytes.len;
}

/* Under mu. */
static int add_locked(struct redis_pipe *p, const struct buf *command, struct call *call, struct err *err)
{
    int64_t until = clock_mono_ms() + LINK_PATIENCE_MS, left = LINK_PATIENCE_MS;
    while (p->up && is_full(p->filling, command->len) && left > 0) {
        cond_wait_ms(&p->room, &p->mu, left);
        left = until - clock_mono_ms();
    }
    if (!p->up) {
        *err = p->why;
        return err->code = ERR_UNAVAILABLE;
    }
    struct batch *b = p->filling;
    if (is_full(b, command->len))
        return err_set(err, ERR_UNAVAILABLE, "the broker %s is too slow", p->addr->url.label);
    buf_add(&b->bytes, command->data, command->len);
    if (!buf_ok(&b->bytes)) { /* out of memory: what is in the batch stays whole */
        b->bytes.failed = b->bytes.no_memory = false;
        return err_set(err, ERR_UNAVAILABLE, "no memory for a message to the broker");
    }
    b->calls[b->n++] = call;
    if (b->n == 1)
        pthread_cond_signal(&p->posted);
    return 0;
}

static int add(struct redis_pipe *p, const struct redis_args *args, struct call *call, struct err *err)
{
    CLEANUP(buf_clear) struct buf command = BUF_INIT(BATCH_BYTES);
    size_t lens[ARRAY_LEN(args->len)];
    for (size_t i = 0; i < args->n; i++)
        lens[i] = args->len[i] ? args->len[i] : strlen(args->arg[i]);
    redis_add(&command, args->n, args->arg, lens);
    int rc = buf_check(&command, "a message to the broker", err);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&p->mu);
    rc = add_locked(p, &command, call, err);
    while (rc >= 0 && call && !call->done)
        cond_wait_ms(&p->done, &p->mu, -1); /* ends: the thread answers or fails every call */
    pthread_mutex_unlock(&p->mu);
    if (rc >= 0 && call && call->rc < 0) {
        *err = call->err;
        rc = call->rc;
    }
    return rc;
}

int redis_pipe_post(struct redis_pipe *p, const struct redis_args *args, struct err *err)
{
    return add(p, args, NULL, err);
}

int redis_pipe_call(struct redis_pipe *p, const struct redis_args *args, int64_t *ret, struct err *err)
{
    struct call call = {.done = false};
    int rc = add(p, args, &call, err);
    if (rc >= 0 && ret)
        *ret = call.integer;
    return rc < 0 ? rc : 0;
}

int redis_pipe_store(struct redis_pipe *p, const struct redis_args *args, struct err *err)
{
    struct call call = {.stores = true};
    int rc = add(p, args, &call, err);
    return rc < 0 ? rc : 0;
}
