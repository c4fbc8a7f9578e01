/* SPDX-License-Identifier: MIT */
/* See broker_msg.h. What is encoded passes the same check as what was decoded: no message can leave that would not
 * arrive. */
#include "broker/broker_msg.h"

#include "base/str.h"

#include <string.h>

#define EVENT_VERSION "e1"
enum { EVENT_FIELDS = 5 };

static bool is_word(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7F)
            return false;
    return n > 0 && utf8_valid(s, n);
}

/* Looks like an object: whether it is well-formed JSON is its maker's business. */
static bool is_object(const char *s, size_t n)
{
    return n >= 2 && s[0] == '{' && s[n - 1] == '}' && utf8_valid(s, n);
}

static void add_field(struct buf *b, const char *name, const char *value)
{
    buf_addf(b, "%c\"%s\":", b->len ? ',' : '{', name);
    if (value)
        str_add_json(b, value);
    else
        buf_adds(b, "null");
}

/* A failed buffer of four kilobytes means: too long. */
static int finish(const struct buf *b, const char *what, struct err *err)
{
    return buf_ok(b) ? 0 : err_set(err, ERR_TOO_LARGE, "%s is over %d bytes", what, BROKER_MSG_MAX);
}

int broker_token_encode(const struct token *t, struct buf *b, struct err *err)
{
    if (!t->queue || !t->job_id || !t->audio_key)
        return err_set(err, ERR_INVALID, "a token needs a queue, a job id and a storage key");
    add_field(b, "job_id", t->job_id);
    add_field(b, "queue", t->queue);
    add_field(b, "minio_path", t->audio_key);
    add_field(b, "language", t->language);
    add_field(b, "model", t->model);
    buf_addc(b, '}');
    return finish(b, "the wake-up message", err);
}

int broker_dead_letter_encode(const char *job_id, const char *error_class, const char *message, struct buf *b,
                              struct err *err)
{
    if (!job_id || !error_class || !message)
        return err_set(err, ERR_INVALID, "a dead letter needs a job id, an error class and a message");
    add_field(b, "job_id", job_id);
    add_field(b, "error", error_class);
    add_field(b, "message", message);
    buf_addc(b, '}');
    return finish(b, "the dead letter", err);
}

int broker_event_encode(const struct event *e, struct buf *b, struct err *err)
{
    size_t id = strnlen(e->job_id, sizeof e->job_id), type = strnlen(e->type, sizeof e->type);
    size_t json = strnlen(e->json, sizeof e->json);
    if (id == sizeof e->job_id || type == sizeof e->type || json == sizeof e->json)
        return err_set(err, ERR_TOO_LARGE, "a field of the event is longer than an event can hold");
    if (!is_word(e->job_id, id) || !is_word(e->type, type) || !is_object(e->json, json))
        return err_set(err, ERR_INVALID, "an event needs a job id, a type and a JSON object");
    buf_addf(b, EVENT_VERSION "\t%s\t%lld\t%s\t", e->job_id, (long long)e->seq, e->type);
    /* In JSON, a raw line end only ever stands between tokens, where a blank means the same. */
    for (const char *p = e->json; *p; p++) {
        bool line_end = *p == '\n' || *p == '\r';
        buf_add(b, line_end ? " " : p, 1);
    }
    return finish(b, "the event", err);
}

bool broker_event_decode(const char *msg, size_t n, struct event *ret)
{
    struct field {
        const char *p;
        size_t n;
    } f[EVENT_FIELDS];
    if (n > BROKER_MSG_MAX || memchr(msg, '\0', n) || memchr(msg, '\n', n))
        return false;
    const char *at = msg, *end = msg + n;
    for (size_t i = 0; i < EVENT_FIELDS - 1; i++) {
        const char *tab = memchr(at, '\t', (size_t)(end - at));
        if (!tab)
            return false;
        f[i] = (struct field){at, (size_t)(tab - at)};
        at = tab + 1;
    }
    f[EVENT_FIELDS - 1] = (struct field){at, (size_t)(end - at)};

    struct event e;
    char seq[24];
    int64_t number;
    if (f[0].n != strlen(EVENT_VERSION) || memcmp(f[0].p, EVENT_VERSION, f[0].n) != 0)
        return false;
    if (f[1].n >= sizeof e.job_id || f[2].n >= sizeof seq || f[3].n >= sizeof e.type || f[4].n >= sizeof e.json)
        return false;
    if (!is_word(f[1].p, f[1].n) || !is_word(f[3].p, f[3].n) || !is_object(f[4].p, f[4].n))
        return false;
    memcpy(seq, f[2].p, f[2].n);
    seq[f[2].n] = '\0';
    if (!str_to_i64(seq, &number))
        return false;
    memset(ret, 0, sizeof *ret);
    memcpy(ret->job_id, f[1].p, f[1].n);
    ret->seq = number;
    memcpy(ret->type, f[3].p, f[3].n);
    memcpy(ret->json, f[4].p, f[4].n);
    return true;
}
