/* SPDX-License-Identifier: MIT */
/* The wrappers around a broker back end: messages are checked and encoded here, once for all of them. */
#include "broker/broker_ops.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "broker/broker_msg.h"

#include <string.h>

static const char component[] = "broker";

/* Every scheme there is. */
static const struct {
    const char *scheme;
    const struct broker_ops *ops;
} backends[] = {
    {"local", &broker_local_ops}, {"redis", &broker_redis_ops},         {"rediss", &broker_redis_ops},
    {"unix", &broker_redis_ops},  {"redis+unix", &broker_redis_ops},    {"amqp", &broker_amqp_ops},
    {"amqps", &broker_amqp_ops},  {"postgresql", &broker_postgres_ops}, {"postgres", &broker_postgres_ops},
};

int broker_open(const struct broker_opts *opts, struct broker **ret, struct err *err)
{
    /* Only the scheme is ever repeated: the rest of a URL may hold a password. */
    const char *url = opts->url;
    size_t n = strcspn(url, ":");
    for (size_t i = 0; url[n] && i < ARRAY_LEN(backends); i++) {
        if (strlen(backends[i].scheme) != n || strncmp(url, backends[i].scheme, n) != 0)
            continue;
        struct broker *b = NULL;
        int rc = backends[i].ops->open(opts, url + n + 1, &b, err);
        if (rc < 0)
            return rc;
        b->ops = backends[i].ops;
        *ret = b;
        return 0;
    }
    if (!url[n])
        return err_set(err, ERR_INVALID, "a broker URL names its kind first, for example local:/absolute/folder");
    return err_set(err, ERR_INVALID,
                   "unknown kind of broker '%.*s:'; use local:, postgresql:, redis: or amqp:", (int)MIN(n, 40), url);
}

void broker_close(struct broker *b)
{
    if (b)
        b->ops->close(b);
}

int broker_send_token(struct broker *b, const struct token *t, struct err *err)
{
    CLEANUP(buf_clear) struct buf body = BUF_INIT(BROKER_MSG_MAX);
    int rc = broker_token_encode(t, &body, err);
    enum fault_effect fault = rc >= 0 ? FAULT_LOOK(broker_token, NULL) : FAULT_NONE;
    if (rc >= 0 && fault_is_done(fault))
        rc = b->ops->send_token(b, t->queue, body.data, body.len, err);
    if (rc >= 0 && fault != FAULT_NONE)
        rc = FAULT_STRIKE(broker_token, err);
    if (rc < 0)
        return err_wrap(err, "cannot send the wake-up");
    struct log_ctx lc = {.component = component, .job_id = t->job_id};
    log_debug(&lc, "token sent to queue '%s'", t->queue);
    return 0;
}

int broker_send_event(struct broker *b, const struct event *e, struct err *err)
{
    CLEANUP(buf_clear) struct buf msg = BUF_INIT(BROKER_MSG_MAX);
    int rc = broker_event_encode(e, &msg, err);
    enum fault_effect fault = rc >= 0 ? FAULT_LOOK(broker_event, NULL) : FAULT_NONE;
    if (rc >= 0 && fault_is_done(fault))
        rc = b->ops->send_event(b, msg.data, msg.len, err);
    if (rc >= 0 && fault != FAULT_NONE)
        rc = FAULT_STRIKE(broker_event, err);
    if (rc < 0)
        return err_wrap(err, "cannot send the event");
    struct log_ctx lc = {.component = component, .job_id = e->job_id};
    log_debug(&lc, "event %lld '%s' sent", (long long)e->seq, e->type);
    return 0;
}

int broker_send_dead_letter(struct broker *b, const char *job_id, const char *error_class, const char *message,
                            struct err *err)
{
    CLEANUP(buf_clear) struct buf body = BUF_INIT(BROKER_MSG_MAX);
    int rc = broker_dead_letter_encode(job_id, error_class, message, &body, err);
    enum fault_effect fault = rc >= 0 ? FAULT_LOOK(broker_dead_letter, NULL) : FAULT_NONE;
    if (rc >= 0 && fault_is_done(fault) && b->ops->send_dead_letter)
        rc = b->ops->send_dead_letter(b, body.data, body.len, err);
    if (rc >= 0 && fault != FAULT_NONE)
        rc = FAULT_STRIKE(broker_dead_letter, err);
    if (rc < 0)
        return err_wrap(err, "cannot send the dead letter");
    return 0;
}

int broker_wait(struct broker *b, int64_t timeout_ms, struct err *err)
{
    int rc = FAULT_POINT(broker_wait, err);
    return rc < 0 ? rc : b->ops->wait(b, timeout_ms, err);
}

void broker_taken(struct broker *b, const char *queue)
{
    if (b->ops->taken)
        b->ops->taken(b, queue);
}

void broker_interrupt(struct broker *b)
{
    b->ops->interrupt(b);
}

int broker_next_event(struct broker *b, int64_t timeout_ms, struct event *ret, struct err *err)
{
    int rc = FAULT_POINT(broker_next_event, err);
    return rc < 0 ? rc : b->ops->next_event(b, timeout_ms, ret, err);
}

int broker_depth(struct broker *b, const char *queue, int64_t *ret, struct err *err)
{
    int64_t depth = -1;
    int rc = FAULT_POINT(broker_depth, err);
    if (rc >= 0 && b->ops->depth)
        rc = b->ops->depth(b, queue, &depth, err);
    if (rc >= 0)
        *ret = depth;
    return rc;
}

int broker_trim(struct broker *b, const char *queue, int64_t surplus, int64_t keep, struct err *err)
{
    int rc = FAULT_POINT(broker_trim, err);
    return rc >= 0 && b->ops->trim ? b->ops->trim(b, queue, surplus, keep, err) : rc;
}

int broker_ping(struct broker *b, int64_t *ret_ms, struct err *err)
{
    int64_t start = clock_mono_ms();
    int rc = FAULT_POINT(broker_ping, err);
    if (rc >= 0)
        rc = b->ops->ping(b, err);
    if (rc < 0)
        return err_wrap(err, "broker");
    *ret_ms = clock_mono_ms() - start;
    return 0;
}
