/* SPDX-License-Identifier: MIT */
/*
 * The limit of requests is asked for leave before every try. It is shared with other processes where whoever opened the
 * engine keeps it (a database row); when that cannot be asked, and without one, this process counts for itself: a limit
 * that is a little off is better than work that stands still.
 */
#include "engine/remote.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rate.h"
#include "base/str.h"
#include "engine/remote_refusal.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    TRIES = 4,
    BASE_MS = 500, /* before the second try at most; it doubles */
    CAP_MS = 20000,
    BUSY_BASE_MS = 2000, /* for 429 without a time */
    BUSY_CAP_MS = 60000,
    PATIENCE_MS = 10 * 60 * 1000, /* waiting out 429, all tries of a chunk together */
    LIMIT_MS = 120000,
    LOOK_MS = 100,
    ASK_MS = 500, /* between two looks for a token that others want too, at least */
    HIDE_MIN = 16,
};

struct remote {
    const char *name, *key_setting;
    char *key; /* NULL: none */
    struct remote_http *http;
    int64_t per_minute; /* 0: no limit */
    struct engine_rate shared;
    pthread_mutex_t mu;
    /* guarded by mu: */
    int64_t next_ms;        /* of this process's own bucket (base/rate.h) */
    int64_t pause_until_ms; /* monotonic: the server asked for it */
};

static const struct log_ctx lc = {.component = "engine"};

int remote_new(const struct remote_opts *o, struct remote **ret, struct err *err)
{
    struct remote_http *http = NULL;
    if (o->server->key && strpbrk(o->server->key, "\r\n"))
        return err_set(err, ERR_INVALID, "%s has a line break in it", o->key_setting);
    const struct remote_http_opts ho = {.ca_file = o->engine->ca_file,
                                        .limit_ms = o->engine->request_ms > 0 ? o->engine->request_ms : LIMIT_MS};
    int rc = remote_http_new(&ho, &http, err);
    if (rc < 0)
        return rc;
    struct remote *r = xcalloc(1, sizeof *r);
    r->name = o->name;
    r->key_setting = o->key_setting;
    r->key = o->server->key && *o->server->key ? xstrdup(o->server->key) : NULL;
    r->http = http;
    r->per_minute = o->server->per_minute;
    r->shared = o->engine->rate;
    pthread_mutex_init(&r->mu, NULL);
    *ret = r;
    return 0;
}

void remote_free(struct remote *r)
{
    if (!r)
        return;
    remote_http_free(r->http);
    pthread_mutex_destroy(&r->mu);
    free(r->key);
    free(r);
}

/* ---- when ---- */

/* 0: took a token; else when to ask again. */
static int64_t take_token(struct remote *r)
{
    struct err e = ERR_INIT;
    int64_t wait = 0;
    if (r->per_minute <= 0)
        return 0;
    if (r->shared.take && r->shared.take(r->shared.arg, r->name, r->per_minute, &wait, &e) == 0)
        return wait;
    if (r->shared.take)
        log_debug(&lc, "'%s': the shared limit of requests cannot be asked: %s", r->name, e.msg);
    const struct rate rate = rate_of(r->per_minute);
    pthread_mutex_lock(&r->mu);
    wait = rate_take(&rate, &r->next_ms, clock_mono_ms());
    pthread_mutex_unlock(&r->mu);
    return wait;
}

static int64_t paused_until(struct remote *r)
{
    pthread_mutex_lock(&r->mu);
    int64_t until = r->pause_until_ms;
    pthread_mutex_unlock(&r->mu);
    return until;
}

static void pause_all(struct remote *r, int64_t ms)
{
    int64_t until = clock_mono_ms() + ms;
    pthread_mutex_lock(&r->mu);
    r->pause_until_ms = MAX(r->pause_until_ms, until);
    pthread_mutex_unlock(&r->mu);
}

static int cancelled(struct err *err)
{
    return err_set(err, ERR_CANCELLED, "cancelled");
}

static int wait_until(int64_t when_ms, const struct cancel *cancel, struct err *err)
{
    for (int64_t left; (left = when_ms - clock_mono_ms()) > 0;) {
        if (cancel_is_set(cancel))
            return cancelled(err);
        clock_sleep_ms(MIN(left, (int64_t)LOOK_MS));
    }
    return cancel_is_set(cancel) ? cancelled(err) : 0;
}

/*
 * Until the server's pause is over and the limit lets one more request through. Whoever waits has no token yet: one
 * that is cancelled leaves it to the others. Those who found another one faster ask at times of their own.
 */
static int wait_for_leave(struct remote *r, const struct cancel *cancel, struct err *err)
{
    for (bool again = false;; again = true) {
        int rc = wait_until(paused_until(r), cancel, err);
        if (rc < 0)
            return rc;
        int64_t wait = take_token(r);
        if (wait <= 0)
            return 0;
        if (again)
            wait = MAX(wait, (int64_t)ASK_MS) + random_below(ASK_MS);
        rc = wait_until(clock_mono_ms() + wait, cancel, err);
        if (rc < 0)
            return rc;
    }
}

/* Doubles with each failure, up to a cap; the upper half of it is random, so that many callers do not come as one. */
static int64_t backoff(int64_t base, int64_t cap, int failures)
{
    int64_t ms = MIN(cap, base << MIN(failures - 1, 20));
    return ms / 2 + random_below(ms / 2 + 1);
}

/* ---- one try ---- */

/* How a try failed, beyond its class. */
struct setback {
    bool final;      /* no further try */
    int64_t wait_ms; /* of a 429, as the server said; 0: it did not */
};

static int refuse(const struct remote *r, const struct remote_answer *a, struct setback *ret, struct err *err)
{
    struct remote_refusal x;
    remote_refusal_read(a->status, buf_str(&a->body), a->body.len, r->key, &x);
    ret->wait_ms = MAX(x.wait_ms, a->retry_after_ms);
    ret->final = x.used_up || !err_retryable(x.code);
    if (x.bad_key && !r->key)
        return err_set(err, x.code, "it wants a key, set %s: %d, %s", r->key_setting, a->status, x.message);
    if (x.bad_key)
        return err_set(err, x.code, "it refuses the key in %s: %d, %s", r->key_setting, a->status, x.message);
    if (a->status >= 300 && a->status < 400)
        return err_set(err, x.code, "it answers %d, a redirection: set its address as it really is", a->status);
    return err_set(err, x.code, "%d, %s", a->status, x.message[0] ? x.message : "without a word");
}

static void answer_clear(struct remote_answer *a)
{
    buf_clear(&a->body);
}

/*
 * A careless server may quote the key anywhere, also where a sentence is cut later. Short keys are dummies ("none"),
 * which stand in texts by chance.
 */
static void hide_key(const struct remote *r, struct buf *body)
{
    size_t n = r->key ? strlen(r->key) : 0;
    if (n < HIDE_MIN || !body->len)
        return;
    char *end = body->data + body->len;
    for (char *at = body->data; (at = memmem(at, (size_t)(end - at), r->key, n)); at += n)
        memset(at, '*', n);
}

static int try_once(struct remote *r, const struct remote_request *q, remote_read_fn read, void *arg,
                    const struct cancel *cancel, struct setback *ret, struct err *err)
{
    CLEANUP(answer_clear) struct remote_answer a = {.body = BUF_INIT(REMOTE_ANSWER_MAX)};
    int rc = remote_http_post(r->http, q, cancel, &a, err);
    if (rc == 0 && a.status != 200)
        return refuse(r, &a, ret, err);
    if (rc == 0) {
        hide_key(r, &a.body);
        rc = read(buf_str(&a.body), a.body.len, arg, err);
    }
    ret->final = rc < 0 && !err_retryable(rc);
    return rc;
}

/* Puts the engine's name before, and takes the key out of whatever it quotes. */
static int told(const struct remote *r, struct err *err)
{
    char quoted[sizeof err->msg];
    remote_quote(err->msg, strlen(err->msg), r->key, quoted, sizeof quoted);
    memcpy(err->msg, quoted, sizeof quoted);
    return err->code == ERR_CANCELLED ? err->code : err_wrap(err, "%s", r->name);
}

int remote_call(struct remote *r, const struct remote_request *q, remote_read_fn read, void *arg,
                const struct cancel *cancel, struct err *err)
{
    int failures = 0, refusals = 0;
    int64_t patience = PATIENCE_MS;
    for (;;) {
        struct setback s = {.final = false};
        int rc = wait_for_leave(r, cancel, err);
        if (rc == 0)
            rc = try_once(r, q, read, arg, cancel, &s, err);
        if (rc == 0)
            return 0;
        rc = told(r, err);
        if (rc == ERR_CANCELLED || s.final)
            return rc;
        int64_t wait;
        if (rc == ERR_BUSY) {
            refusals++;
            /* A little more than it says: or all who wait would come in the same moment, some of them too early. */
            wait =
                s.wait_ms ? s.wait_ms + random_below(s.wait_ms / 10 + 1) : backoff(BUSY_BASE_MS, BUSY_CAP_MS, refusals);
            if (wait > patience)
                return rc;
            patience -= wait;
            if (s.wait_ms)
                pause_all(r, wait);
        } else {
            if (++failures == TRIES)
                return rc;
            wait = MAX(backoff(BASE_MS, CAP_MS, failures), MIN(s.wait_ms, (int64_t)CAP_MS));
        }
        log_debug(&lc, "%s; again in %lld ms", err->msg, (long long)wait);
        rc = wait_until(clock_mono_ms() + wait, cancel, err);
        if (rc < 0)
            return rc;
    }
}
