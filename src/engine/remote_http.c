/* SPDX-License-Identifier: MIT */
/*
 * A call drives a libcurl multi handle with one transfer in it, because a multi handle can be left at any moment: that
 * is how a cancel is obeyed while a server thinks. Easy and multi handle form a line; lines with their open connection
 * wait in a small stack for the next call.
 */
#include "engine/remote_http.h"

#include "base/clock.h"
#include "base/mem.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { IDLE_MAX = 64, LOOK_MS = 200, CONNECT_MS = 15000 };

struct line {
    CURL *easy;
    CURLM *multi;
    struct line *next;
};

struct remote_http {
    char *ca_file; /* NULL: the system's */
    int64_t limit_ms;
    pthread_mutex_t mu;
    /* guarded by mu: */
    struct line *idle;
    unsigned n_idle;
};

struct call {
    struct line *line;
    struct curl_slist *fields;
    struct remote_answer *answer;
    char trouble[CURL_ERROR_SIZE];
};

static void line_free(struct line *l)
{
    if (!l)
        return;
    if (l->easy)
        curl_easy_cleanup(l->easy);
    if (l->multi)
        curl_multi_cleanup(l->multi);
    free(l);
}

static struct line *line_take(struct remote_http *h)
{
    pthread_mutex_lock(&h->mu);
    struct line *l = h->idle;
    if (l) {
        h->idle = l->next;
        h->n_idle--;
    }
    pthread_mutex_unlock(&h->mu);
    if (l)
        return l;
    l = xcalloc(1, sizeof *l);
    l->easy = curl_easy_init();
    l->multi = curl_multi_init();
    if (!l->easy || !l->multi || curl_multi_setopt(l->multi, CURLMOPT_MAXCONNECTS, 1L) != CURLM_OK) {
        line_free(l);
        return NULL;
    }
    return l;
}

static void line_give(struct remote_http *h, struct line *l)
{
    curl_easy_reset(l->easy);
    pthread_mutex_lock(&h->mu);
    bool keep = h->n_idle < IDLE_MAX;
    if (keep) {
        l->next = h->idle;
        h->idle = l;
        h->n_idle++;
    }
    pthread_mutex_unlock(&h->mu);
    if (!keep)
        line_free(l);
}

/* libcurl's own initialisation, once a process; it takes nothing that has to be given back. */
static void init_curl(void)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        abort();
}

int remote_http_new(const struct remote_http_opts *o, struct remote_http **ret, struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    bool ca = o->ca_file && *o->ca_file;
    pthread_once(&once, init_curl);
    if (ca && access(o->ca_file, R_OK) < 0)
        return err_set(err, ERR_INVALID, "the file with certificates, '%.200s', cannot be read", o->ca_file);
    struct remote_http *h = xcalloc(1, sizeof *h);
    h->ca_file = ca ? xstrdup(o->ca_file) : NULL;
    h->limit_ms = o->limit_ms;
    pthread_mutex_init(&h->mu, NULL);
    *ret = h;
    return 0;
}

void remote_http_free(struct remote_http *h)
{
    if (!h)
        return;
    for (struct line *l; (l = h->idle);) {
        h->idle = l->next;
        line_free(l);
    }
    pthread_mutex_destroy(&h->mu);
    free(h->ca_file);
    free(h);
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct call *c = arg;
    buf_add(&c->answer->body, data, size * n);
    return buf_ok(&c->answer->body) ? size * n : 0;
}

/* Sets all options; false when one is refused, which only lack of memory does. */
static bool prepare(const struct remote_http *h, struct call *c, const struct remote_request *q)
{
    CURL *e = c->line->easy;
    bool ok = true;
#define SET(option, value) ok = ok && curl_easy_setopt(e, option, value) == CURLE_OK
    for (size_t i = 0; ok && q->fields[i]; i++) {
        struct curl_slist *more = curl_slist_append(c->fields, q->fields[i]);
        ok = more != NULL;
        c->fields = more ? more : c->fields;
    }
    /* libcurl would wait for leave to send a body. */
    struct curl_slist *more = ok ? curl_slist_append(c->fields, "Expect:") : NULL;
    ok = more != NULL;
    c->fields = more ? more : c->fields;
    SET(CURLOPT_URL, q->url);
    SET(CURLOPT_HTTPHEADER, c->fields);
    SET(CURLOPT_USERAGENT, "steno/" STENO_VERSION);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)MIN(h->limit_ms, (int64_t)CONNECT_MS));
    SET(CURLOPT_TIMEOUT_MS, (long)h->limit_ms);
    SET(CURLOPT_ERRORBUFFER, c->trouble);
    SET(CURLOPT_POST, 1L);
    SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->size);
    SET(CURLOPT_POSTFIELDS, (const char *)q->body);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, c);
    if (h->ca_file)
        SET(CURLOPT_CAINFO, h->ca_file);
#undef SET
    return ok && curl_multi_add_handle(c->line->multi, e) == CURLM_OK;
}

/* 1: *ret is how it ended; 0: cancelled. */
static int drive(struct call *c, const struct cancel *cancel, CURLcode *ret)
{
    while (!cancel_is_set(cancel)) {
        int running = 0, left = 0;
        CURLMcode m = curl_multi_perform(c->line->multi, &running);
        for (CURLMsg *msg; (msg = curl_multi_info_read(c->line->multi, &left));)
            if (msg->msg == CURLMSG_DONE) {
                *ret = msg->data.result;
                return 1;
            }
        if (m == CURLM_OK)
            m = curl_multi_poll(c->line->multi, NULL, 0, LOOK_MS, NULL);
        if (m != CURLM_OK) {
            *ret = CURLE_OUT_OF_MEMORY;
            return 1;
        }
    }
    return 0;
}

static int failure(const struct call *c, CURLcode code, struct err *err)
{
    const char *why = c->trouble[0] ? c->trouble : curl_easy_strerror(code);
    if (code == CURLE_OUT_OF_MEMORY || c->answer->body.no_memory)
        return err_set(err, ERR_NOMEM, "no memory for a request");
    if (code == CURLE_OPERATION_TIMEDOUT)
        return err_set(err, ERR_TIMEOUT, "%.300s", why);
    if (c->answer->body.failed)
        return err_set(err, ERR_UNAVAILABLE, "the answer is longer than %d bytes", REMOTE_ANSWER_MAX);
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
        return err_set(err, ERR_UNAVAILABLE,
                       "the server's certificate is not trusted (%.200s); set remote_ca_file to that of who signed it",
                       why);
    /* Other codes have one meaning to a caller: it did not work, it may work later. */
    return err_set(err, ERR_UNAVAILABLE, "%.300s", why);
}

static int finish(const struct call *c, CURLcode code, struct err *err)
{
    long status = 0;
    curl_off_t wait_s = 0;
    if (code != CURLE_OK)
        return failure(c, code, err);
    curl_easy_getinfo(c->line->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(c->line->easy, CURLINFO_RETRY_AFTER, &wait_s);
    c->answer->status = (int)status;
    c->answer->retry_after_ms = CLAMP((int64_t)wait_s, 0, (int64_t)INT32_MAX) * 1000;
    return 0;
}

int remote_http_post(struct remote_http *h, const struct remote_request *q, const struct cancel *cancel,
                     struct remote_answer *ret, struct err *err)
{
    struct call c = {.line = line_take(h), .answer = ret};
    if (!c.line)
        return err_set(err, ERR_NOMEM, "no memory for a request");
    CURLcode code = CURLE_OUT_OF_MEMORY;
    bool added = prepare(h, &c, q);
    int done = added ? drive(&c, cancel, &code) : 1;
    int rc = done ? finish(&c, code, err) : err_set(err, ERR_CANCELLED, "cancelled");
    if (added)
        curl_multi_remove_handle(c.line->multi, c.line->easy); /* breaks off what is left */
    curl_slist_free_all(c.fields);
    if (rc < 0)
        line_free(c.line); /* nobody knows in what state its connection is */
    else
        line_give(h, c.line);
    return rc;
}
