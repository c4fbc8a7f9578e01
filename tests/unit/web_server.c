/* SPDX-License-Identifier: MIT */
#include "web_server.h"

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/thread.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_CONNECTIONS = 64, MAX_HEAD = 64 << 10, MAX_BODY = 32 << 20 };

struct web_server {
    web_fn fn;
    void *arg;
    int fd, port, stop[2];
    pthread_t thread;
    pthread_t workers[MAX_CONNECTIONS];
    unsigned n_workers;
    pthread_mutex_t mu;
    unsigned requests; /* guarded by mu */
};

struct connection {
    struct web_server *server;
    int fd;
};

/* Waits until fd can be read; false when the server stops. */
static bool readable(const struct web_server *s, int fd)
{
    struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = s->stop[0], .events = POLLIN}};
    return poll(p, 2, -1) > 0 && !p[1].revents;
}

/* Reads more into b; false at the end. */
static bool more(const struct web_server *s, int fd, struct buf *b)
{
    char piece[65536];
    ssize_t k = readable(s, fd) ? recv(fd, piece, sizeof piece, 0) : 0;
    if (k > 0)
        buf_add(b, piece, (size_t)k);
    return k > 0 && buf_ok(b);
}

/* One request; false when the connection is over. */
static bool serve(struct web_server *s, int fd, struct buf *b)
{
    char *end;
    while (!(end = strstr(buf_str(b), "\r\n\r\n")))
        if (!more(s, fd, b))
            return false;
    size_t head = (size_t)(end - b->data) + 4;
    struct web_request q = {.fd = fd, .head = b->data};
    char length[32];
    web_header(&q, "Content-Length", length, sizeof length);
    int64_t body = 0;
    if (*length && !str_to_i64(length, &body))
        return false;
    while (b->len < head + (size_t)body)
        if (!more(s, fd, b))
            return false;
    CLEANUP(free_p) char *text = malloc(head + 1);
    if (!text)
        abort();
    memcpy(text, b->data, head);
    text[head] = '\0';
    char *space = strchr(text, ' '), *space2 = space ? strchr(space + 1, ' ') : NULL;
    if (!space2)
        return false;
    *space = *space2 = '\0';
    q.method = text;
    q.target = space + 1;
    q.head = strchr(space2 + 1, '\n') + 1;
    q.body = b->data + head;
    q.body_len = (size_t)body;
    pthread_mutex_lock(&s->mu);
    q.number = s->requests++;
    bool goes_on = s->fn(&q, s->arg);
    pthread_mutex_unlock(&s->mu);
    buf_consume(b, head + (size_t)body);
    return goes_on;
}

static void *connection_main(void *arg)
{
    struct connection *c = arg;
    struct buf b = BUF_INIT(MAX_HEAD + MAX_BODY);
    while (serve(c->server, c->fd, &b)) {
    }
    buf_clear(&b);
    close(c->fd);
    free(c);
    return NULL;
}

static void *accept_main(void *arg)
{
    struct web_server *s = arg;
    struct err err = ERR_INIT;
    while (readable(s, s->fd)) {
        int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        struct connection *c = xcalloc(1, sizeof *c);
        *c = (struct connection){s, fd};
        if (s->n_workers == MAX_CONNECTIONS ||
            thread_start(&s->workers[s->n_workers], "web", connection_main, c, &err) < 0)
            abort();
        s->n_workers++;
    }
    return NULL;
}

int web_server_start(web_fn fn, void *arg, struct web_server **ret, struct err *err)
{
    struct web_server *s = xcalloc(1, sizeof *s);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    s->fn = fn;
    s->arg = arg;
    pthread_mutex_init(&s->mu, NULL);
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->fd < 0 || pipe(s->stop) < 0 || bind(s->fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(s->fd, 64) < 0 ||
        getsockname(s->fd, (struct sockaddr *)&a, &n) < 0)
        abort();
    s->port = ntohs(a.sin_port);
    int rc = thread_start(&s->thread, "web", accept_main, s, err);
    if (rc < 0)
        abort();
    *ret = s;
    return 0;
}

void web_server_stop(struct web_server *s)
{
    if (!s)
        return;
    close(s->stop[1]); /* readable from now on for all that wait */
    pthread_join(s->thread, NULL);
    for (unsigned i = 0; i < s->n_workers; i++)
        pthread_join(s->workers[i], NULL);
    close(s->stop[0]);
    close(s->fd);
    pthread_mutex_destroy(&s->mu);
    free(s);
}

int web_server_port(const struct web_server *s)
{
    return s->port;
}

void web_server_hold(struct web_server *s)
{
    pthread_mutex_lock(&s->mu);
}

void web_server_release(struct web_server *s)
{
    pthread_mutex_unlock(&s->mu);
}

void web_header(const struct web_request *q, const char *name, char *ret, size_t size)
{
    size_t n = strlen(name);
    *ret = '\0';
    for (const char *line = q->head; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncasecmp(line, name, n) != 0 || line[n] != ':')
            continue;
        line += n + 1;
        line += strspn(line, " ");
        snprintf(ret, size, "%.*s", (int)strcspn(line, "\r\n"), line);
        return;
    }
}

bool web_has(const struct web_request *q, const char *name, const char *value)
{
    char found[2048];
    web_header(q, name, found, sizeof found);
    return value ? strcmp(found, value) == 0 : *found;
}

bool web_answer_cut(const struct web_request *q, int status, const char *fields, const void *body, size_t n,
                    size_t sent)
{
    struct err err = ERR_INIT;
    CLEANUP(free_p) char *head = xasprintf("HTTP/1.1 %d Answer\r\nContent-Length: %zu\r\n%s\r\n", status, n, fields);
    if (strcmp(q->method, "HEAD") == 0)
        sent = 0;
    return io_write_all(q->fd, head, strlen(head), &err) == 0 && io_write_all(q->fd, body, sent, &err) == 0 &&
           (sent == n || strcmp(q->method, "HEAD") == 0);
}

bool web_answer(const struct web_request *q, int status, const char *fields, const void *body, size_t n)
{
    return web_answer_cut(q, status, fields, body, n, n);
}
