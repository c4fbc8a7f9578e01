/* SPDX-License-Identifier: MIT */
/* Error classes and sentences: see err.h. A sentence too long for the field is cut, never overflows. */
#include "base/err.h"

#undef err_set /* macros for the analyzer only */
#undef err_sys
#undef err_wrap

#include "base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int class_of_errno(int sys)
{
    switch (sys) {
    case ENOENT:
    case ENOTDIR:
        return ERR_NOT_FOUND;
    case ENOMEM:
    case EMFILE:
    case ENFILE:
        return ERR_NOMEM;
    case EAGAIN:
    case EBUSY:
        return ERR_BUSY;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case EINVAL:
    case EISDIR:
    case ENAMETOOLONG:
    case EACCES:
    case EPERM:
        return ERR_INVALID;
    case EEXIST:
        return ERR_CONFLICT;
    default: /* ENOSPC, EIO, EROFS, ECONNREFUSED, EPIPE ...: the world is in the way, not the input */
        return ERR_UNAVAILABLE;
    }
}

/* By way of a copy: an argument may be the old sentence itself. */
static void PRINTF_LIKE(2, 0) set_msg(struct err *e, const char *fmt, va_list ap)
{
    char text[sizeof e->msg];
    int n = vsnprintf(text, sizeof text, fmt, ap);
    if (n < 0)
        text[0] = '\0';
    else if ((size_t)n >= sizeof text)
        text[utf8_floor(text, sizeof text - 1)] = '\0';
    memcpy(e->msg, text, strlen(text) + 1);
}

/* Puts ": " and more behind the sentence, cut between two characters. */
static void append_msg(struct err *e, const char *more)
{
    const char *const parts[] = {": ", more};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        size_t n = strlen(e->msg), room = sizeof e->msg - 1 - n, len = strlen(parts[i]);
        len = len > room ? utf8_floor(parts[i], room) : len;
        memcpy(e->msg + n, parts[i], len);
        e->msg[n + len] = '\0';
    }
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    set_msg(e, fmt, ap);
    va_end(ap);
    e->code = code;
    e->sys = 0;
    return code;
}

int err_sys(struct err *e, int sys, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    set_msg(e, fmt, ap);
    va_end(ap);
    char text[128];
    /* The GNU strerror_r: the string it returns may or may not live in `text`. */
    append_msg(e, strerror_r(sys, text, sizeof text));
    e->code = class_of_errno(sys);
    e->sys = sys;
    return e->code;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
    char inner[sizeof e->msg];
    memcpy(inner, e->msg, sizeof inner);
    va_list ap;
    va_start(ap, fmt);
    set_msg(e, fmt, ap);
    va_end(ap);
    append_msg(e, inner);
    return e->code;
}

const char *err_name(int code)
{
    switch (code) {
#define X(name, value, word, retry) \
    case ERR_##name:                \
        return word;
        ERR_CLASSES(X)
#undef X
    default:
        return code >= 0 ? "ok" : "internal";
    }
}

int err_from_name(const char *name)
{
#define X(n, value, word, retry) \
    if (strcmp(name, word) == 0) \
        return ERR_##n;
    ERR_CLASSES(X)
#undef X
    return ERR_INTERNAL;
}

bool err_retryable(int code)
{
    switch (code) {
#define X(name, value, word, retry) \
    case ERR_##name:                \
        return retry;
        ERR_CLASSES(X)
#undef X
    default:
        return false;
    }
}
