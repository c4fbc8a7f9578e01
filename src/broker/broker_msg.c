/* SPDX-License-Identifier: MIT */
/* See broker_msg.h. What is encoded passes the same check as what was decoded: no message can leave that would not
 * arrive. */
#include "broker/broker_msg.h"

#include "base/str.h"

#include <string.h>

/* What stands before each part of an event; the last part ends with the brace after the object. */
static const char *const event_before[] = {"{\"job_id\":\"", "\",\"seq\":", ",\"type\":\"", "\",\"data\":"};
enum { EVENT_ID, EVENT_SEQ, EVENT_TYPE, EVENT_DATA, EVENT_PARTS };

/* It means itself in a JSON text. */
static bool is_word(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7F || s[i] == '"' || s[i] == '\\')
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
    buf_addf(b, "%s%s%s%lld%s%s%s", event_before[EVENT_ID], e->job_id, event_before[EVENT_SEQ], (long long)e->seq,
             event_before[EVENT_TYPE], e->type, event_before[EVENT_DATA]);
    /* In JSON, a raw line end only ever stands between tokens, where a blank means the same. */
    for (const char *p = e->json; *p; p++) {
        bool line_end = *p == '\n' || *p == '\r';
        buf_add(b, line_end ? " " : p, 1);
    }
    buf_addc(b, '}');
    return finish(b, "the event", err);
}

bool broker_event_decode(const char *msg, size_t n, struct event *ret)
{
    struct {
        const char *p;
        size_t n;
    } f[EVENT_PARTS];
    if (n > BROKER_MSG_MAX || memchr(msg, '\0', n) || memchr(msg, '\n', n))
        return false;
    const char *at = msg, *end = msg + n;
    for (size_t i = 0; i < EVENT_PARTS; i++) {
        size_t skip = strlen(event_before[i]);
        const char *before = memmem(at, (size_t)(end - at), event_before[i], skip);
        if (!before || (i == 0 && before != at))
            return false;
        if (i > 0)
            f[i - 1].n = (size_t)(before - f[i - 1].p);
        f[i].p = at = before + skip;
    }
    if (at == end || end[-1] != '}')
        return false;
    f[EVENT_DATA].n = (size_t)(end - at) - 1;

    struct event e;
    char seq[24];
    int64_t number;
    if (f[EVENT_ID].n >= sizeof e.job_id || f[EVENT_SEQ].n >= sizeof seq || f[EVENT_TYPE].n >= sizeof e.type ||
        f[EVENT_DATA].n >= sizeof e.json)
        return false;
    if (!is_word(f[EVENT_ID].p, f[EVENT_ID].n) || !is_word(f[EVENT_TYPE].p, f[EVENT_TYPE].n) ||
        !is_object(f[EVENT_DATA].p, f[EVENT_DATA].n))
        return false;
    memcpy(seq, f[EVENT_SEQ].p, f[EVENT_SEQ].n);
    seq[f[EVENT_SEQ].n] = '\0';
    if (!str_to_i64(seq, &number))
        return false;
    memset(ret, 0, sizeof *ret);
    memcpy(ret->job_id, f[EVENT_ID].p, f[EVENT_ID].n);
    ret->seq = number;
    memcpy(ret->type, f[EVENT_TYPE].p, f[EVENT_TYPE].n);
    memcpy(ret->json, f[EVENT_DATA].p, f[EVENT_DATA].n);
    return true;
}
