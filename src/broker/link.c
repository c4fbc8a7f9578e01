/* SPDX-License-Identifier: MIT */
#include "broker/link.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAUSE_MIN_MS = 100, PAUSE_MAX_MS = 3000, PART_MAX = 4096 };

static const struct log_ctx lc = {.component = "broker"};

/* ---- address ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* NULL: badly encoded, too long, or with a control character in it. */
static char *decode(const char *s, size_t n)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT(PART_MAX);
    for (size_t i = 0; i < n; i++) {
        int c = (unsigned char)s[i];
        if (c == '%') {
            int high = n - i > 2 ? hex_digit(s[i + 1]) : -1;
            int low = n - i > 2 ? hex_digit(s[i + 2]) : -1;
            if (high < 0 || low < 0)
                return NULL;
            c = high * 16 + low;
            i += 2;
        }
        if (c < 0x20 || c == 0x7F)
            return NULL;
        buf_addc(&b, (char)c);
    }
    return buf_ok(&b) ? xstrdup(buf_str(&b)) : NULL;
}

static int bad_url(const char *what, struct err *err)
{
    return err_set(err, ERR_INVALID,
                   "the broker URL has no valid %s; it looks like scheme://user:password@host:port/path, with what is "
                   "not a letter or digit in user and password written as %%XX",
                   what);
}

/* user:password, both optional. */
static int parse_login(const char *s, size_t n, struct link_addr *a, struct err *err)
{
    const char *colon = memchr(s, ':', n);
    size_t user = colon ? (size_t)(colon - s) : n;
    if (user && !(a->user = decode(s, user)))
        return bad_url("user", err);
    if (colon && !(a->password = decode(colon + 1, n - user - 1)))
        return bad_url("password", err);
    return 0;
}

/* host, host:port, [v6]:port or nothing. */
static int parse_host(const char *s, size_t n, struct link_addr *a, struct err *err)
{
    const char *close = n && s[0] == '[' ? memchr(s, ']', n) : NULL;
    const char *host = close ? s + 1 : s;
    const char *colon = close ? (close + 1 < s + n ? close + 1 : NULL) : memchr(s, ':', n);
    size_t host_n = close ? (size_t)(close - host) : colon ? (size_t)(colon - s) : n;
    if (n && s[0] == '[' && !close)
        return bad_url("host", err);
    if (colon) {
        CLEANUP(free_p) char *text = decode(colon + 1, n - (size_t)(colon + 1 - s));
        int64_t port;
        if (*colon != ':' || !text || !str_to_i64(text, &port) || port < 1 || port > 65535)
            return bad_url("port", err);
        a->port = (int)port;
    }
    if (host_n && !(a->host = decode(host, host_n)))
        return bad_url("host", err);
    return colon && !host_n ? bad_url("host", err) : 0;
}

static void make_label(struct link_addr *a)
{
    bool v6 = a->host && strchr(a->host, ':');
    char port[16] = "";
    if (a->port)
        snprintf(port, sizeof port, ":%d", a->port);
    snprintf(a->label, sizeof a->label, "%s://%s%s%s%s%s%s", a->scheme, v6 ? "[" : "", a->host ? a->host : "",
             v6 ? "]" : "", port, a->path ? "/" : "", a->path ? a->path : "");
    a->label[utf8_floor(a->label, strlen(a->label))] = '\0';
}

int link_addr_parse(const char *url, struct link_addr *ret, struct err *err)
{
    struct link_addr a = {.port = 0};
    const char *colon = strchr(url, ':');
    if (!colon || !str_starts(colon, "://"))
        return bad_url("beginning", err);
    const char *s = colon + 3, *query = s + strcspn(s, "?"), *path = memchr(s, '/', (size_t)(query - s));
    const char *end = path ? path : query, *at = memrchr(s, '@', (size_t)(end - s));
    int rc = at ? parse_login(s, (size_t)(at - s), &a, err) : 0;
    s = at ? at + 1 : s;
    if (rc >= 0)
        rc = parse_host(s, (size_t)(end - s), &a, err);
    if (rc >= 0 && !(a.scheme = decode(url, (size_t)(colon - url))))
        rc = bad_url("beginning", err);
    if (rc >= 0 && path && !(a.path = decode(path + 1, (size_t)(query - path - 1))))
        rc = bad_url("path", err);
    if (rc < 0) {
        link_addr_clear(&a);
        return rc;
    }
    a.query = *query ? xstrdup(query + 1) : NULL;
    make_label(&a);
    *ret = a;
    return 0;
}

void link_addr_clear(struct link_addr *a)
{
    char *parts[] = {a->scheme, a->user, a->password, a->host, a->path, a->query};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        free(parts[i]);
    *a = (struct link_addr){.port = 0};
}

/* The options one by one: name and value with their lengths. False: no more. */
static bool next_option(const char **at, const char **ret_name, size_t *ret_name_n, const char **ret_value,
                        size_t *ret_value_n)
{
    while (*at && **at == '&')
        ++*at;
    if (!*at || !**at)
        return false;
    size_t n = strcspn(*at, "&");
    const char *eq = memchr(*at, '=', n);
    *ret_name = *at;
    *ret_name_n = eq ? (size_t)(eq - *at) : n;
    *ret_value = eq ? eq + 1 : *at + n;
    *ret_value_n = eq ? n - *ret_name_n - 1 : 0;
    *at += n;
    return true;
}

static bool same(const char *s, size_t n, const char *word)
{
    return strlen(word) == n && memcmp(s, word, n) == 0;
}

int link_addr_option(const struct link_addr *a, const char *name, char **ret, struct err *err)
{
    const char *at = a->query, *key, *value;
    size_t key_n, value_n;
    while (next_option(&at, &key, &key_n, &value, &value_n)) {
        if (!same(key, key_n, name))
            continue;
        char *text = decode(value, value_n);
        if (!text)
            return err_set(err, ERR_INVALID, "option '%s' of the broker URL is not well encoded", name);
        *ret = text;
        return 1;
    }
    *ret = NULL;
    return 0;
}

int link_addr_check_options(const struct link_addr *a, const char *const *names, struct err *err)
{
    const char *at = a->query, *key, *value;
    size_t key_n, value_n;
    while (next_option(&at, &key, &key_n, &value, &value_n)) {
        bool known = false;
        CLEANUP(buf_clear) struct buf list = BUF_INIT(PART_MAX);
        for (const char *const *n = names; *n; n++) {
            known = known || same(key, key_n, *n);
            buf_addf(&list, "%s%s", list.len ? ", " : "", *n);
        }
        if (!known)
            return err_set(err, ERR_INVALID, "'%s:' broker URLs have no option '%.*s'; they have: %s", a->scheme,
                           (int)MIN(key_n, 40), key, list.len ? buf_str(&list) : "none");
    }
    return 0;
}

/* ---- up or away ---- */

void link_init(struct link *l, const char *label)
{
    *l = (struct link){.label = xstrdup(label)};
    pthread_mutex_init(&l->mu, NULL);
}

void link_clear(struct link *l)
{
    pthread_mutex_destroy(&l->mu);
    free(l->label);
}

int link_check(struct link *l, struct err *err)
{
    pthread_mutex_lock(&l->mu);
    int rc = l->away ? err_set(err, ERR_UNAVAILABLE, "%s", l->why.msg) : 0;
    pthread_mutex_unlock(&l->mu);
    return rc;
}

void line_init(struct line *n, struct link *l, unsigned bit)
{
    *n = (struct line){.link = l, .bit = bit};
}

void line_up(struct line *n)
{
    struct link *l = n->link;
    n->retry_at = n->pause_ms = 0;
    pthread_mutex_lock(&l->mu);
    bool over = l->away == n->bit;
    int64_t since = l->since;
    l->away &= ~n->bit;
    pthread_mutex_unlock(&l->mu);
    if (over)
        log_info(&lc, "%s is back after %.1f s", l->label, (double)(clock_mono_ms() - since) / 1000);
}

void line_down(struct line *n, const struct err *why)
{
    struct link *l = n->link;
    int64_t now = clock_mono_ms();
    n->pause_ms = n->pause_ms ? MIN(2 * n->pause_ms, PAUSE_MAX_MS) : PAUSE_MIN_MS;
    n->retry_at = now + n->pause_ms / 2 + random_below(n->pause_ms / 2 + 1);
    pthread_mutex_lock(&l->mu);
    bool first = !l->away;
    if (first) {
        l->since = now;
        l->why = *why;
    }
    l->away |= n->bit;
    pthread_mutex_unlock(&l->mu);
    if (first)
        log_warn(&lc, "the broker is away, going on without it (workers look for jobs by themselves): %s", why->msg);
    else
        log_debug(&lc, "still away: %s", why->msg);
}

int64_t line_due_ms(const struct line *n)
{
    return MAX(n->retry_at - clock_mono_ms(), 0);
}
