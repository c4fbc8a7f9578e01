/* SPDX-License-Identifier: MIT */
#include "broker/redis_conn.h"

#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

enum { PORT = 6379, DB_MAX = 1 << 20 };

static const struct timeval patience = {LINK_PATIENCE_MS / 1000, LINK_PATIENCE_MS % 1000 * 1000L};

/* ---- the URL ---- */

static int parse_db(const char *text, int *ret, struct err *err)
{
    int64_t n = 0;
    if (text && *text && (!str_to_i64(text, &n) || n < 0 || n > DB_MAX))
        return err_set(err, ERR_INVALID, "the database of a Redis URL is a number, as in redis://host:6379/0");
    *ret = (int)n;
    return 0;
}

static int parse_socket(struct redis_addr *a, struct err *err)
{
    static const char *const options[] = {"db", NULL};
    CLEANUP(free_p) char *db = NULL;
    if (a->url.host || a->url.port || !a->url.path || !*a->url.path)
        return err_set(err, ERR_INVALID,
                       "a Redis socket is named by its whole path: unix:///run/redis/redis.sock?db=0");
    a->socket = xasprintf("/%s", a->url.path);
    if (strlen(a->socket) >= sizeof((struct sockaddr_un){0}.sun_path))
        return err_set(err, ERR_INVALID, "the path of the Redis socket is over %zu bytes",
                       sizeof((struct sockaddr_un){0}.sun_path) - 1);
    int rc = link_addr_check_options(&a->url, options, err);
    if (rc >= 0)
        rc = link_addr_option(&a->url, "db", &db, err);
    return rc < 0 ? rc : parse_db(db, &a->db, err);
}

static int parse_tcp(struct redis_addr *a, struct err *err)
{
    static const char *const options[] = {"db", NULL};
    CLEANUP(free_p) char *db = NULL;
    a->port = a->url.port ? a->url.port : PORT;
    int rc = link_addr_check_options(&a->url, options, err);
    if (rc >= 0)
        rc = link_addr_option(&a->url, "db", &db, err);
    return rc < 0 ? rc : parse_db(db ? db : a->url.path, &a->db, err);
}

int redis_addr_parse(const char *url, struct redis_addr *ret, struct err *err)
{
    struct redis_addr a = {.socket = NULL};
    if (str_starts(url, "rediss:"))
        return err_set(
            err, ERR_UNSUPPORTED,
            "this program cannot speak TLS to Redis: hiredis 0.14 has none. Let a tunnel (stunnel, WireGuard) "
            "carry the connection and name its near end with redis://, or use amqps: with RabbitMQ");
    int rc = link_addr_parse(url, &a.url, err);
    if (rc < 0)
        return rc;
    rc = strcmp(a.url.scheme, "redis") == 0 ? parse_tcp(&a, err) : parse_socket(&a, err);
    if (rc < 0) {
        redis_addr_clear(&a);
        return rc;
    }
    *ret = a;
    return 0;
}

void redis_addr_clear(struct redis_addr *a)
{
    link_addr_clear(&a->url);
    free(a->socket);
    a->socket = NULL;
}

/* ---- connections ---- */

int redis_lost(const struct redis_addr *a, const redisContext *c, struct err *err)
{
    const char *why = c ? c->errstr : "out of memory";
    /* How hiredis shows the time-out of a socket, and the end of a stream. */
    if (c && c->err == REDIS_ERR_IO && (errno == EAGAIN || errno == EINPROGRESS))
        why = "no answer in time";
    else if (c && c->err == REDIS_ERR_EOF)
        why = "it closed the connection";
    return err_set(err, ERR_UNAVAILABLE, "the broker %s cannot be reached: %s", a->url.label, why);
}

int redis_check(const struct redis_addr *a, const redisReply *r, struct err *err)
{
    if (r->type != REDIS_REPLY_ERROR)
        return 0;
    return err_set(err, ERR_UNAVAILABLE, "the broker %s refuses: %.200s", a->url.label, r->str);
}

static int ask(const struct redis_addr *a, redisContext *c, const char *const *args, size_t n, struct err *err)
{
    size_t lens[3];
    const char *argv[3];
    for (size_t i = 0; i < n; i++) {
        argv[i] = args[i];
        lens[i] = strlen(args[i]);
    }
    redisReply *r = redisCommandArgv(c, (int)n, argv, lens);
    if (!r)
        return redis_lost(a, c, err);
    int rc = redis_check(a, r, err);
    freeReplyObject(r);
    return rc;
}

static int log_in(const struct redis_addr *a, redisContext *c, struct err *err)
{
    const char *user = a->url.user, *password = a->url.password ? a->url.password : "";
    int rc = 0;
    if (user)
        rc = ask(a, c, (const char *const[]){"AUTH", user, password}, 3, err);
    else if (*password)
        rc = ask(a, c, (const char *const[]){"AUTH", password}, 2, err);
    if (rc < 0)
        return rc;
    char db[16];
    snprintf(db, sizeof db, "%d", a->db);
    rc = a->db ? ask(a, c, (const char *const[]){"SELECT", db}, 2, err) : 0;
    /* A server that still loads its data, or wants a password, says so to this. */
    return rc < 0 ? rc : ask(a, c, (const char *const[]){"PING"}, 1, err);
}

/* A peer that vanished without a word: the kernel gives up on what it does not acknowledge. */
static void tune(const redisContext *c)
{
    int on = 1, idle = 5, gap = 2, tries = 3;
    unsigned silent_ms = 5000;
    setsockopt(c->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(c->fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(c->fd, IPPROTO_TCP, TCP_KEEPINTVL, &gap, sizeof gap);
    setsockopt(c->fd, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof tries);
    setsockopt(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silent_ms, sizeof silent_ms);
}

int redis_open(const struct redis_addr *a, redisContext **ret, struct err *err)
{
    const char *host = a->url.host ? a->url.host : "localhost";
    redisContext *c =
        a->socket ? redisConnectUnixWithTimeout(a->socket, patience) : redisConnectWithTimeout(host, a->port, patience);
    int rc = !c || c->err ? redis_lost(a, c, err) : 0;
    if (rc >= 0 && !a->socket)
        tune(c);
    if (rc >= 0 && redisSetTimeout(c, patience) != REDIS_OK)
        rc = redis_lost(a, c, err);
    if (rc >= 0)
        rc = log_in(a, c, err);
    if (rc < 0) {
        if (c)
            redisFree(c);
        return rc;
    }
    *ret = c;
    return 0;
}

void redis_add(struct buf *b, size_t n, const char *const *args, const size_t *lens)
{
    buf_addf(b, "*%zu\r\n", n);
    for (size_t i = 0; i < n; i++) {
        buf_addf(b, "$%zu\r\n", lens[i]);
        buf_add(b, args[i], lens[i]);
        buf_adds(b, "\r\n");
    }
}
