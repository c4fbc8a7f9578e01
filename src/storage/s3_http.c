/* SPDX-License-Identifier: MIT */
/*
 * Answers are pulled: what arrives beyond the reader's buffer is kept (at most one libcurl buffer), then the transfer
 * is paused until the reader comes back.
 *
 * Silence is measured here and not by libcurl's speed limit, which counts whole seconds and also a paused reader.
 */
#include "storage/s3_http.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/stop.h"
#include "base/str.h"
#include "http/lines.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUFFER = 256 << 10, POLL_MS = 1000, FIELD_MAX = 8192, STOPPING_MS = 2000 };

struct s3_http {
    struct s3_http_opts o;
    struct http_lines *lines;
};

struct s3_http_call {
    struct s3_http *http;
    struct http_line *line;
    struct s3_http_body body;
    int64_t given; /* bytes of the body that libcurl took */
    bool repeated; /* libcurl had taken all of it once, and began anew */
    s3_http_field_fn fn;
    void *fn_arg;
    bool answered; /* all headers of the final answer are here */
    bool done;
    CURLcode result;
    int64_t moved_ms, until_ms; /* monotonic; until 0: no limit */
    char *out;                  /* the reader's buffer while it waits */
    size_t room;
    char *stash; /* what arrived and was not read yet */
    size_t stash_at, stash_len;
};

int s3_http_new(const struct s3_http_opts *o, struct s3_http **ret, struct err *err)
{
    struct http_lines *lines = NULL;
    int rc = http_lines_new(o->ca_file, &lines, err);
    if (rc < 0)
        return rc;
    struct s3_http *h = xcalloc(1, sizeof *h);
    h->o = *o;
    h->lines = lines;
    *ret = h;
    return 0;
}

void s3_http_free(struct s3_http *h)
{
    if (!h)
        return;
    http_lines_free(h->lines);
    free(h);
}

/* ---- what libcurl calls ---- */

static size_t on_send(char *to, size_t size, size_t n, void *arg)
{
    struct s3_http_call *c = arg;
    n = (size_t)MIN((int64_t)(size * n), c->body.size - c->given);
    if (c->body.data) {
        memcpy(to, (const char *)c->body.data + c->given, n);
    } else if (n) {
        ssize_t k = pread(c->body.fd, to, n, c->given);
        if (k <= 0)
            return CURL_READFUNC_ABORT;
        n = (size_t)k;
    }
    c->given += (int64_t)n;
    c->moved_ms = clock_mono_ms();
    return n;
}

/* A kept connection turned out dead: libcurl sends again on a new one. The server may have read it all the same. */
static int on_seek(void *arg, curl_off_t offset, int origin)
{
    struct s3_http_call *c = arg;
    if (origin != SEEK_SET)
        return CURL_SEEKFUNC_CANTSEEK;
    c->repeated = c->repeated || c->given == c->body.size;
    c->given = offset;
    return CURL_SEEKFUNC_OK;
}

static size_t on_field(char *line, size_t size, size_t n, void *arg)
{
    struct s3_http_call *c = arg;
    size_t whole = size * n;
    long status = 0;
    c->moved_ms = clock_mono_ms();
    curl_easy_getinfo(c->line->easy, CURLINFO_RESPONSE_CODE, &status);
    n = whole;
    while (n && (line[n - 1] == '\r' || line[n - 1] == '\n'))
        n--;
    if (n == 0) {
        c->answered = status >= 200;
        return whole;
    }
    const char *colon = memchr(line, ':', n);
    if (!colon || status < 200 || n >= FIELD_MAX)
        return whole;
    char text[FIELD_MAX];
    size_t name = (size_t)(colon - line);
    for (size_t i = 0; i < name; i++)
        text[i] = (char)(line[i] >= 'A' && line[i] <= 'Z' ? line[i] + 32 : line[i]);
    text[name] = '\0';
    const char *value = colon + 1, *end = line + n;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    memcpy(text + name + 1, value, (size_t)(end - value));
    text[name + 1 + (size_t)(end - value)] = '\0';
    c->fn(text, text + name + 1, c->fn_arg);
    return whole;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct s3_http_call *c = arg;
    n *= size;
    /* Pausing gives the same bytes again later: all or nothing. */
    if (c->stash_len || !c->out || n > BUFFER)
        return n > BUFFER ? 0 : CURL_WRITEFUNC_PAUSE;
    size_t take = MIN(n, c->room);
    if (take < n && !c->stash && !(c->stash = malloc(BUFFER)))
        return 0;
    c->moved_ms = clock_mono_ms();
    memcpy(c->out, data, take);
    c->out += take;
    c->room -= take;
    if (take < n)
        memcpy(c->stash, data + take, n - take);
    c->stash_at = 0;
    c->stash_len = n - take;
    return n;
}

/* ---- the transfer ---- */

/* Whoever stops does not wait long for a server that says nothing. */
static int64_t most_silence(const struct s3_http_call *c)
{
    return stop_requested() ? MIN(c->http->o.silence_ms, (int64_t)STOPPING_MS) : c->http->o.silence_ms;
}

static bool over_time(const struct s3_http_call *c, int64_t now)
{
    return now - c->moved_ms > most_silence(c) || (c->until_ms && now > c->until_ms);
}

/* Lets the transfer go on a little; waits when there is nothing to do. */
static void step(struct s3_http_call *c)
{
    c->done = http_line_step(c->line, &c->result);
    if (c->done)
        return;
    if (c->answered && (!c->out || !c->room || c->stash_len))
        return; /* there is something to hand over */
    int64_t now = clock_mono_ms();
    if (over_time(c, now)) {
        c->done = true;
        c->result = CURLE_OPERATION_TIMEDOUT;
        snprintf(c->line->trouble, sizeof c->line->trouble, "no sign of life for %lld ms",
                 (long long)(now - c->moved_ms));
        return;
    }
    int64_t wait = MIN((int64_t)POLL_MS, c->moved_ms + most_silence(c) - now + 1);
    if (c->until_ms)
        wait = MIN(wait, c->until_ms - now + 1);
    if (curl_multi_poll(c->line->multi, NULL, 0, (int)MAX(wait, 1), NULL) != CURLM_OK)
        clock_sleep_ms(1);
}

static int failure(const struct s3_http_call *c, struct err *err)
{
    return http_line_failure(c->line, c->result, "s3_ca_file", err);
}

/* Sets all options; false when one is refused, which only lack of memory does. */
static bool begin(struct s3_http_call *c, const struct s3_http_request *q)
{
    CURL *e = c->line->easy;
    const struct s3_http *h = c->http;
    bool get = strcmp(q->method, "GET") == 0, head = strcmp(q->method, "HEAD") == 0;
    bool sends = strcmp(q->method, "PUT") == 0 || strcmp(q->method, "POST") == 0;
    bool ok = true;
#define SET(option, value) ok = ok && curl_easy_setopt(e, option, value) == CURLE_OK
    for (size_t i = 0; i < q->n_fields && ok; i++) {
        CLEANUP(free_p) char *text = xasprintf("%s: %s", q->fields[i].name, q->fields[i].value);
        ok = http_line_field(c->line, text);
    }
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_PATH_AS_IS, 1L);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)h->o.connect_ms);
    SET(CURLOPT_BUFFERSIZE, (long)BUFFER);
    SET(CURLOPT_HEADERFUNCTION, on_field);
    SET(CURLOPT_HEADERDATA, c);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, c);
    if (h->o.direct)
        SET(CURLOPT_PROXY, "");
    if (sends) {
        SET(CURLOPT_UPLOAD, 1L);
        SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t)q->body.size);
        SET(CURLOPT_UPLOAD_BUFFERSIZE, (long)BUFFER);
        SET(CURLOPT_READFUNCTION, on_send);
        SET(CURLOPT_READDATA, c);
        SET(CURLOPT_SEEKFUNCTION, on_seek);
        SET(CURLOPT_SEEKDATA, c);
    }
    if (head)
        SET(CURLOPT_NOBODY, 1L);
    if (!get && !head)
        SET(CURLOPT_CUSTOMREQUEST, q->method);
#undef SET
    return ok && http_line_begin(c->line, q->url);
}

int s3_http_begin(struct s3_http *h, const struct s3_http_request *q, s3_http_field_fn fn, void *arg, int *ret_status,
                  bool *ret_lost, struct s3_http_call **ret, struct err *err)
{
    struct s3_http_call *c = xcalloc(1, sizeof *c);
    *ret_lost = false;
    c->http = h;
    c->body = q->body;
    c->fn = fn;
    c->fn_arg = arg;
    c->moved_ms = clock_mono_ms();
    c->until_ms = q->limit_ms ? c->moved_ms + q->limit_ms : 0;
    c->line = http_line_take(h->lines);
    if (!c->line || !begin(c, q)) {
        s3_http_end(c);
        return err_set(err, ERR_NOMEM, "no memory for a request");
    }
    while (!c->answered && !c->done)
        step(c);
    if (!c->answered) {
        long sent = 0;
        curl_easy_getinfo(c->line->easy, CURLINFO_REQUEST_SIZE, &sent);
        *ret_lost = c->repeated || (sent > 0 && c->given == c->body.size);
        if (c->result == CURLE_OK) /* an end without headers */
            c->result = CURLE_GOT_NOTHING;
        int rc = failure(c, err);
        s3_http_end(c);
        return rc;
    }
    long status = 0;
    curl_easy_getinfo(c->line->easy, CURLINFO_RESPONSE_CODE, &status);
    *ret_status = (int)status;
    *ret_lost = c->repeated;
    *ret = c;
    return 0;
}

ssize_t s3_http_read(struct s3_http_call *c, void *data, size_t n, struct err *err)
{
    if (c->stash_len) {
        n = MIN(n, c->stash_len);
        memcpy(data, c->stash + c->stash_at, n);
        c->stash_at += n;
        c->stash_len -= n;
        return (ssize_t)n;
    }
    if (n == 0)
        return 0;
    c->out = data;
    c->room = n;
    c->moved_ms = clock_mono_ms();
    /* Delivers at once what a pause has kept. */
    if (!c->done && curl_easy_pause(c->line->easy, CURLPAUSE_CONT) == CURLE_OUT_OF_MEMORY) {
        c->done = true;
        c->result = CURLE_OUT_OF_MEMORY;
    }
    while (!c->done && c->room == n)
        step(c);
    size_t got = n - c->room;
    c->out = NULL;
    c->room = 0;
    if (got)
        return (ssize_t)got;
    return c->result == CURLE_OK ? 0 : failure(c, err);
}

void s3_http_end(struct s3_http_call *c)
{
    if (!c)
        return;
    if (c->line)
        http_line_give(c->http->lines, c->line, true); /* HTTP/1.1: one broken off is closed by libcurl */
    free(c->stash);
    free(c);
}
