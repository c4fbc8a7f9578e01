/* SPDX-License-Identifier: MIT */
/* A request with a line of its own; between two steps the cancel is looked at. */
#include "engine/remote_http.h"

#include "base/mem.h"
#include "http/lines.h"

#include <stdlib.h>

enum { LOOK_MS = 200, CONNECT_MS = 15000 };

struct remote_http {
    struct http_lines *lines;
    int64_t limit_ms;
};

int remote_http_new(const struct remote_http_opts *o, struct remote_http **ret, struct err *err)
{
    struct http_lines *lines = NULL;
    int rc = http_lines_new(o->ca_file, &lines, err);
    if (rc < 0)
        return rc;
    struct remote_http *h = xcalloc(1, sizeof *h);
    h->lines = lines;
    h->limit_ms = o->limit_ms;
    *ret = h;
    return 0;
}

void remote_http_free(struct remote_http *h)
{
    if (!h)
        return;
    http_lines_free(h->lines);
    free(h);
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct remote_answer *a = arg;
    buf_add(&a->body, data, size * n);
    return buf_ok(&a->body) ? size * n : 0;
}

/* Sets all options; false when one is refused, which only lack of memory does. */
static bool begin(const struct remote_http *h, struct http_line *l, const struct remote_request *q,
                  struct remote_answer *answer)
{
    bool ok = true;
    for (size_t i = 0; ok && q->fields[i]; i++)
        ok = http_line_field(l, q->fields[i]);
#define SET(option, value) ok = ok && curl_easy_setopt(l->easy, option, value) == CURLE_OK
    SET(CURLOPT_USERAGENT, "steno/" STENO_VERSION);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)MIN(h->limit_ms, (int64_t)CONNECT_MS));
    SET(CURLOPT_TIMEOUT_MS, (long)h->limit_ms);
    SET(CURLOPT_POST, 1L);
    SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->size);
    SET(CURLOPT_POSTFIELDS, (const char *)q->body);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, answer);
#undef SET
    return ok && http_line_begin(l, q->url);
}

/* False: cancelled. */
static bool drive(struct http_line *l, const struct cancel *cancel, CURLcode *ret)
{
    while (!cancel_is_set(cancel)) {
        if (http_line_step(l, ret))
            return true;
        if (curl_multi_poll(l->multi, NULL, 0, LOOK_MS, NULL) != CURLM_OK) {
            *ret = CURLE_OUT_OF_MEMORY;
            return true;
        }
    }
    return false;
}

static int finish(const struct http_line *l, CURLcode code, struct remote_answer *answer, struct err *err)
{
    long status = 0;
    curl_off_t wait_s = 0;
    if (answer->body.failed && !answer->body.no_memory)
        return err_set(err, ERR_UNAVAILABLE, "the answer is longer than %d bytes", REMOTE_ANSWER_MAX);
    if (code != CURLE_OK)
        return http_line_failure(l, answer->body.no_memory ? CURLE_OUT_OF_MEMORY : code, "remote_ca_file", err);
    curl_easy_getinfo(l->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(l->easy, CURLINFO_RETRY_AFTER, &wait_s);
    answer->status = (int)status;
    answer->retry_after_ms = CLAMP((int64_t)wait_s, 0, (int64_t)INT32_MAX) * 1000;
    return 0;
}

int remote_http_post(struct remote_http *h, const struct remote_request *q, const struct cancel *cancel,
                     struct remote_answer *ret, struct err *err)
{
    struct http_line *l = http_line_take(h->lines);
    if (!l)
        return err_set(err, ERR_NOMEM, "no memory for a request");
    CURLcode code = CURLE_OUT_OF_MEMORY;
    bool done = !begin(h, l, q, ret) || drive(l, cancel, &code);
    int rc = done ? finish(l, code, ret, err) : err_set(err, ERR_CANCELLED, "cancelled");
    http_line_give(h->lines, l, rc == 0);
    return rc;
}
