/* SPDX-License-Identifier: MIT */
#include "cli/sse.h"

#include <string.h>

void sse_init(struct sse *s, sse_fn fn, void *arg)
{
    *s = (struct sse){.fn = fn,
                      .arg = arg,
                      .line = BUF_INIT(SSE_MAX),
                      .data = BUF_INIT(SSE_MAX),
                      .id = BUF_INIT(SSE_ID_MAX),
                      .next = BUF_INIT(SSE_ID_MAX)};
}

static void copy(struct buf *to, const struct buf *from)
{
    buf_reset(to);
    buf_add(to, buf_str(from), from->len);
}

void sse_restart(struct sse *s)
{
    buf_reset(&s->line);
    buf_reset(&s->data);
    copy(&s->next, &s->id);
    s->begun = s->after_cr = s->has_data = false;
}

void sse_clear(struct sse *s)
{
    buf_clear(&s->line);
    buf_clear(&s->data);
    buf_clear(&s->id);
    buf_clear(&s->next);
}

/* Only a whole event counts as seen: one that was cut off is asked for again. */
static int dispatch(struct sse *s, struct err *err)
{
    int rc = 0;
    copy(&s->id, &s->next);
    if (s->has_data)
        rc = s->fn(s->arg, buf_str(&s->data), s->data.len, err);
    buf_reset(&s->data);
    s->has_data = false;
    return rc;
}

static void take_id(struct sse *s, const char *value, size_t n)
{
    if (memchr(value, '\0', n))
        return;
    buf_reset(&s->next);
    buf_add(&s->next, value, n);
    if (!buf_ok(&s->next))
        buf_reset(&s->next);
}

static int end_of_line(struct sse *s, struct err *err)
{
    const char *p = buf_str(&s->line);
    size_t n = s->line.len, name = 0;
    if (!s->begun && n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) {
        p += 3;
        n -= 3;
    }
    s->begun = true;
    if (!n)
        return dispatch(s, err);
    while (name < n && p[name] != ':')
        name++;
    size_t value = MIN(name + 1, n);
    if (value < n && p[value] == ' ')
        value++;
    if (name == 4 && memcmp(p, "data", 4) == 0) {
        if (s->has_data)
            buf_addc(&s->data, '\n');
        buf_add(&s->data, p + value, n - value);
        s->has_data = true;
    } else if (name == 2 && memcmp(p, "id", 2) == 0) {
        take_id(s, p + value, n - value);
    }
    /* A comment has an empty name. `event` and `retry` change nothing for us: messages say their type, and how long to
     * wait is the follower's choice. */
    buf_reset(&s->line);
    return buf_check(&s->data, "an event of the server", err);
}

int sse_feed(struct sse *s, const void *bytes, size_t n, struct err *err)
{
    const char *p = bytes;
    for (size_t i = 0; i < n; i++) {
        size_t start = i;
        while (i < n && p[i] != '\n' && p[i] != '\r')
            i++;
        if (i > start) {
            buf_add(&s->line, p + start, i - start);
            s->after_cr = false;
        }
        int rc = buf_check(&s->line, "a line of the server's events", err);
        if (rc < 0 || i == n)
            return rc;
        bool half = p[i] == '\n' && s->after_cr;
        s->after_cr = p[i] == '\r';
        if (half)
            continue;
        rc = end_of_line(s, err);
        buf_reset(&s->line);
        if (rc < 0)
            return rc;
    }
    return 0;
}

const char *sse_last_id(const struct sse *s)
{
    return buf_str(&s->id);
}
