/* SPDX-License-Identifier: MIT */
/* A line is built in a local buffer and written with one write(2), so lines of several processes do not mix. */
#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/str.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MESSAGE_MAX = 4096, FIELD_MAX = 128 };

static atomic_int current_level = LOG_INFO;
static atomic_bool as_json;

static _Thread_local struct log_scope scope;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void log_setup(enum log_level level, bool json)
{
    atomic_store(&current_level, (int)level);
    atomic_store(&as_json, json);
}

struct log_scope log_scope_of(const char *job_id, const char *request_id)
{
    struct log_scope s;
    snprintf(s.job_id, sizeof s.job_id, "%s", job_id ? job_id : "");
    snprintf(s.request_id, sizeof s.request_id, "%s", request_id ? request_id : "");
    return s;
}

struct log_scope log_scope_now(void)
{
    return scope;
}

struct log_scope log_scope_swap(struct log_scope next)
{
    struct log_scope before = scope;
    scope = next;
    return before;
}

bool log_level_parse(const char *word, enum log_level *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++)
        if (strcmp(word, level_names[i]) == 0) {
            *ret = (enum log_level)i;
            return true;
        }
    return false;
}

bool log_on(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&current_level, memory_order_relaxed);
}

static void add_field(struct buf *b, bool json, const char *name, const char *value)
{
    if (!value || !*value)
        return;
    /* An id comes from outside at times; cut, so that a line always fits its buffer. */
    char cut[FIELD_MAX + 1];
    size_t n = strlen(value);
    n = n > FIELD_MAX ? utf8_floor(value, FIELD_MAX) : n;
    memcpy(cut, value, n);
    cut[n] = '\0';
    if (json) {
        buf_addf(b, ",\"%s\":", name);
        str_add_json(b, cut);
    } else {
        buf_addf(b, " %s=", name);
        str_add_printable(b, cut);
    }
}

void log_write(enum log_level level, const struct log_ctx *lc, const char *fmt, ...)
{
    if (!log_on(level))
        return;
    CLEANUP(buf_clear) struct buf line = BUF_INIT(8 * MESSAGE_MAX);
    char msg[MESSAGE_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    if ((size_t)n >= sizeof msg) /* a cut message is better than none */
        msg[utf8_floor(msg, sizeof msg - 1)] = '\0';
    char when[TIME_ISO_SIZE];
    time_iso(clock_wall_ms(), when);
    bool json = atomic_load_explicit(&as_json, memory_order_relaxed);
    const char *component = lc && lc->component ? lc->component : "steno";
    if (json) {
        buf_addf(&line, "{\"time\":\"%s\",\"level\":\"%s\",\"component\":\"%s\"", when, level_names[level], component);
        buf_adds(&line, ",\"message\":");
        str_add_json(&line, msg);
    } else {
        buf_addf(&line, "%s %-5s %s: ", when, level_names[level], component);
        str_add_printable(&line, msg);
    }
    add_field(&line, json, "job_id", lc && lc->job_id ? lc->job_id : scope.job_id);
    add_field(&line, json, "request_id", lc && lc->request_id ? lc->request_id : scope.request_id);
    buf_adds(&line, json ? "}\n" : "\n");
    if (buf_ok(&line) && write(STDERR_FILENO, line.data, line.len) < 0) {
        /* Nobody left to tell. */
    }
}
