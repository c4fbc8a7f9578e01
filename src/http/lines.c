/* SPDX-License-Identifier: MIT */
/* A small stack of idle lines; those beyond its size are closed. */
#include "http/lines.h"

#include "base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum { IDLE_MAX = 64 };

struct http_lines {
    char *ca_file; /* NULL: the system's */
    pthread_mutex_t mu;
    /* guarded by mu: */
    struct http_line *idle;
    unsigned n_idle;
};

/* libcurl's own initialisation, once a process; it takes nothing that has to be given back. */
static void init_curl(void)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        abort();
}

int http_lines_new(const char *ca_file, struct http_lines **ret, struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    bool ca = ca_file && *ca_file;
    pthread_once(&once, init_curl);
    if (ca && access(ca_file, R_OK) < 0)
        return err_set(err, ERR_INVALID, "the file with certificates, '%.200s', cannot be read", ca_file);
    struct http_lines *h = xcalloc(1, sizeof *h);
    h->ca_file = ca ? xstrdup(ca_file) : NULL;
    pthread_mutex_init(&h->mu, NULL);
    *ret = h;
    return 0;
}

static void line_free(struct http_line *l)
{
    if (l->easy)
        curl_easy_cleanup(l->easy);
    if (l->multi)
        curl_multi_cleanup(l->multi);
    free(l);
}

void http_lines_free(struct http_lines *h)
{
    if (!h)
        return;
    for (struct http_line *l; (l = h->idle);) {
        h->idle = l->next;
        line_free(l);
    }
    pthread_mutex_destroy(&h->mu);
    free(h->ca_file);
    free(h);
}

/* What every request wants. */
static bool prepare(const struct http_lines *h, struct http_line *l)
{
    CURL *e = l->easy;
    l->trouble[0] = '\0';
    return curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_ERRORBUFFER, l->trouble) == CURLE_OK &&
           (!h->ca_file || curl_easy_setopt(e, CURLOPT_CAINFO, h->ca_file) == CURLE_OK);
}

struct http_line *http_line_take(struct http_lines *h)
{
    pthread_mutex_lock(&h->mu);
    struct http_line *l = h->idle;
    if (l) {
        h->idle = l->next;
        h->n_idle--;
    }
    pthread_mutex_unlock(&h->mu);
    if (!l) {
        l = xcalloc(1, sizeof *l);
        l->easy = curl_easy_init();
        l->multi = curl_multi_init();
    }
    if (l->easy && l->multi && curl_multi_setopt(l->multi, CURLMOPT_MAXCONNECTS, 1L) == CURLM_OK && prepare(h, l))
        return l;
    line_free(l);
    return NULL;
}

void http_line_give(struct http_lines *h, struct http_line *l, bool sound)
{
    curl_multi_remove_handle(l->multi, l->easy);
    curl_easy_reset(l->easy);
    curl_slist_free_all(l->fields);
    l->fields = NULL;
    pthread_mutex_lock(&h->mu);
    bool keep = sound && h->n_idle < IDLE_MAX;
    if (keep) {
        l->next = h->idle;
        h->idle = l;
        h->n_idle++;
    }
    pthread_mutex_unlock(&h->mu);
    if (!keep)
        line_free(l);
}

bool http_line_field(struct http_line *l, const char *text)
{
    struct curl_slist *more = curl_slist_append(l->fields, text);
    l->fields = more ? more : l->fields;
    return more != NULL;
}

bool http_line_begin(struct http_line *l, const char *url)
{
    /* Without that libcurl would wait for leave to send a body. */
    return http_line_field(l, "Expect:") && curl_easy_setopt(l->easy, CURLOPT_URL, url) == CURLE_OK &&
           curl_easy_setopt(l->easy, CURLOPT_HTTPHEADER, l->fields) == CURLE_OK &&
           curl_multi_add_handle(l->multi, l->easy) == CURLM_OK;
}

bool http_line_step(struct http_line *l, CURLcode *ret)
{
    int running = 0, left = 0;
    CURLMcode m = curl_multi_perform(l->multi, &running);
    for (CURLMsg *msg; (msg = curl_multi_info_read(l->multi, &left));)
        if (msg->msg == CURLMSG_DONE) {
            *ret = msg->data.result;
            return true;
        }
    if (m != CURLM_OK)
        *ret = CURLE_OUT_OF_MEMORY;
    return m != CURLM_OK;
}

int http_line_failure(const struct http_line *l, CURLcode code, const char *ca_option, struct err *err)
{
    const char *why = l->trouble[0] ? l->trouble : curl_easy_strerror(code);
    if (code == CURLE_OUT_OF_MEMORY)
        return err_set(err, ERR_NOMEM, "no memory for a request");
    if (code == CURLE_OPERATION_TIMEDOUT)
        return err_set(err, ERR_TIMEOUT, "%.300s", why);
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE) {
        err_set(err, ERR_UNAVAILABLE,
                "the server's certificate is not trusted (%.200s); set %s to that of who signed it", why, ca_option);
        err->sys = EKEYREJECTED;
        return ERR_UNAVAILABLE;
    }
    /* Other codes have one meaning to a caller: it did not work, it may work later. */
    return err_set(err, ERR_UNAVAILABLE, "%.300s", why);
}
