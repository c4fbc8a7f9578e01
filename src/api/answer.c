/* SPDX-License-Identifier: MIT */
#include "api/answer.h"

#include "base/io.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RETRY_AFTER_S = 5 };

void answer_init(struct answer *a)
{
    *a = (struct answer){.problem = PROBLEM_COUNT, .fd = -1};
    buf_init(&a->body, ANSWER_MEMORY_MAX);
}

void answer_clear(struct answer *a)
{
    for (size_t i = 0; i < a->n_headers; i++)
        free(a->headers[i].value);
    buf_clear(&a->body);
    close_fd(&a->fd);
    answer_init(a);
}

void answer_header(struct answer *a, const char *name, const char *fmt, ...)
{
    char *value = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&value, fmt, ap);
    va_end(ap);
    if (n < 0 || a->n_headers == ANSWER_HEADERS_MAX) {
        if (n >= 0)
            free(value);
        return;
    }
    for (char *p = value; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7F)
            *p = '?';
    a->headers[a->n_headers++] = (struct answer_header){name, value};
}

bool answer_has_header(const struct answer *a, const char *name)
{
    for (size_t i = 0; i < a->n_headers; i++)
        if (strcmp(a->headers[i].name, name) == 0)
            return true;
    return false;
}

/* From here on the body lives in a file nobody else can see. */
static int move_to_file(struct answer *a, struct err *err)
{
    const char *dir = getenv("TMPDIR");
    a->fd = open(dir && *dir ? dir : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (a->fd < 0) {
        err_sys(err, errno, "cannot make a temporary file for the answer");
        return err->code = ERR_UNAVAILABLE;
    }
    int rc = io_write_all(a->fd, a->body.data, a->body.len, err);
    a->fd_bytes = (int64_t)a->body.len;
    buf_clear(&a->body);
    return rc;
}

int answer_write(struct answer *a, const void *data, size_t n, struct err *err)
{
    if (a->fd < 0 && a->body.len + n <= ANSWER_MEMORY_MAX) {
        buf_add(&a->body, data, n);
        return buf_check(&a->body, "the answer", err);
    }
    int rc = a->fd < 0 ? move_to_file(a, err) : 0;
    if (rc < 0)
        return rc;
    if (a->fd_bytes + (int64_t)n > ANSWER_BODY_MAX)
        return err_set(err, ERR_TOO_LARGE, "the answer is over %d bytes", ANSWER_BODY_MAX);
    rc = io_write_all(a->fd, data, n, err);
    a->fd_bytes += (int64_t)n;
    return rc;
}

int answer_give(struct answer *a, struct buf *b, struct err *err)
{
    int rc = buf_check(b, "the answer", err);
    if (rc >= 0 && a->fd < 0 && !a->body.len && b->len <= ANSWER_MEMORY_MAX) {
        size_t max = a->body.max;
        buf_clear(&a->body);
        a->body = *b;
        a->body.max = max;
        buf_init(b, b->max);
    } else if (rc >= 0) {
        rc = answer_write(a, buf_str(b), b->len, err);
    }
    buf_clear(b);
    return rc;
}

void answer_constant(struct answer *a, const void *data, size_t n)
{
    a->constant = data;
    a->constant_bytes = n;
}

void answer_file(struct answer *a, int fd, int64_t offset, int64_t n)
{
    a->fd = fd;
    a->fd_offset = offset;
    a->fd_bytes = n;
}

void answer_refusal(struct answer *a, const struct dialect *d, struct refusal *r)
{
    answer_clear(a);
    a->problem = r->problem;
    a->content_type = d->refuse(r, &a->body);
    a->status = r->status;
    /* The same request cannot do better at once: clients of OpenAI's look at this. */
    bool key = r->problem == PROBLEM_key_in_flight || r->problem == PROBLEM_key_reused;
    if (key)
        answer_header(a, "X-Should-Retry", "false");
    if (a->status == 503 || a->status == 429 || r->problem == PROBLEM_key_in_flight)
        answer_header(a, "Retry-After", "%d", RETRY_AFTER_S);
}
