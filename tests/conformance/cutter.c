/* SPDX-License-Identifier: MIT */
#include "cutter.h"

#include "base/macros.h"
#include "base/mem.h"
#include "base/thread.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PAIRS = 64, BYTES = 1 << 16 };

struct pair {
    int client, server; /* -1: free */
    bool doomed;        /* the next complete answer is swallowed, and the connection cut */
};

struct cutter {
    int listener, port;
    char *host, *server_port;
    int wake;
    pthread_t thread;
    struct pair pairs[PAIRS];
    char bytes[BYTES];
    pthread_mutex_t mu;
    int left; /* guarded by mu, as below: messages until the cut; 0: none */
    int refused;
    bool after, fired, stalled, refusing, stopping;
};

static int listen_anywhere(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 64) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static int connect_to(const struct cutter *c)
{
    struct addrinfo *list = NULL, hints = {.ai_socktype = SOCK_STREAM};
    int fd = -1, on = 1;
    if (getaddrinfo(c->host, c->server_port, &hints, &list) != 0)
        return -1;
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    if (fd >= 0)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void drop(struct pair *p)
{
    close(p->client);
    close(p->server);
    *p = (struct pair){-1, -1, false};
}

static bool pass(int to, const char *bytes, size_t n)
{
    while (n) {
        ssize_t k = send(to, bytes, n, MSG_NOSIGNAL);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return false;
        bytes += k;
        n -= (size_t)k;
    }
    return true;
}

/* Counts a message; 1: cut now, 2: cut after its answer. */
static int count(struct cutter *c)
{
    int cut = 0;
    pthread_mutex_lock(&c->mu);
    if (c->left > 0 && --c->left == 0) {
        cut = c->after ? 2 : 1;
        c->fired = true;
    }
    pthread_mutex_unlock(&c->mu);
    return cut;
}

static void from_client(struct cutter *c, struct pair *p)
{
    ssize_t n = recv(p->client, c->bytes, sizeof c->bytes, 0);
    int cut = n > 0 ? count(c) : 0;
    p->doomed = p->doomed || cut == 2;
    if (n <= 0 || cut == 1 || !pass(p->server, c->bytes, (size_t)n))
        drop(p);
}

static void from_server(struct cutter *c, struct pair *p)
{
    static const char ready[] = {'Z', 0, 0, 0, 5};
    ssize_t n = recv(p->server, c->bytes, sizeof c->bytes, 0);
    if (n > 0 && p->doomed) {
        if (n >= 6 && memcmp(c->bytes + n - 6, ready, sizeof ready) == 0)
            drop(p);
        return;
    }
    if (n <= 0 || !pass(p->client, c->bytes, (size_t)n))
        drop(p);
}

static void refuse(struct cutter *c)
{
    int client = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC);
    if (client < 0)
        return;
    close(client);
    pthread_mutex_lock(&c->mu);
    c->refused++;
    pthread_mutex_unlock(&c->mu);
}

static void take_connection(struct cutter *c)
{
    int client = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC);
    int server = connect_to(c);
    for (size_t i = 0; client >= 0 && server >= 0 && i < PAIRS; i++)
        if (c->pairs[i].client < 0) {
            c->pairs[i] = (struct pair){client, server, false};
            return;
        }
    if (client >= 0)
        close(client);
    if (server >= 0)
        close(server);
}

static void *relay(void *arg)
{
    struct cutter *c = arg;
    for (;;) {
        pthread_mutex_lock(&c->mu);
        bool stop = c->stopping, stalled = c->stalled, refusing = c->refusing;
        pthread_mutex_unlock(&c->mu);
        if (stop)
            return NULL;
        for (size_t i = 0; refusing && i < PAIRS; i++)
            if (c->pairs[i].client >= 0)
                drop(&c->pairs[i]);
        struct pollfd p[2 + 2 * PAIRS] = {{.fd = c->wake, .events = POLLIN},
                                          {.fd = stalled ? -1 : c->listener, .events = POLLIN}};
        for (size_t i = 0; i < PAIRS; i++) {
            p[2 + 2 * i] = (struct pollfd){.fd = stalled ? -1 : c->pairs[i].client, .events = POLLIN};
            p[3 + 2 * i] = (struct pollfd){.fd = stalled ? -1 : c->pairs[i].server, .events = POLLIN};
        }
        if (poll(p, ARRAY_LEN(p), -1) < 0)
            continue;
        eventfd_t ignored;
        if (p[0].revents && eventfd_read(c->wake, &ignored) < 0)
            continue;
        for (size_t i = 0; i < PAIRS; i++) {
            if (p[2 + 2 * i].revents)
                from_client(c, &c->pairs[i]);
            if (p[3 + 2 * i].revents && c->pairs[i].server == p[3 + 2 * i].fd)
                from_server(c, &c->pairs[i]);
        }
        if (p[1].revents && refusing)
            refuse(c);
        else if (p[1].revents)
            take_connection(c);
    }
}

struct cutter *cutter_new(const char *host, const char *port)
{
    struct cutter *c = xcalloc(1, sizeof *c);
    struct sockaddr_in a;
    socklen_t size = sizeof a;
    struct err e = ERR_INIT;
    c->host = xstrdup(host);
    c->server_port = xstrdup(port);
    c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&c->mu, NULL);
    for (size_t i = 0; i < PAIRS; i++)
        c->pairs[i] = (struct pair){-1, -1, false};
    c->listener = listen_anywhere();
    if (c->listener < 0 || getsockname(c->listener, (struct sockaddr *)&a, &size) < 0 ||
        thread_start(&c->thread, "cutter", relay, c, &e) < 0) {
        free(c);
        return NULL;
    }
    c->port = ntohs(a.sin_port);
    return c;
}

static void nudge(struct cutter *c)
{
    (void)eventfd_write(c->wake, 1);
}

void cutter_free(struct cutter *c)
{
    pthread_mutex_lock(&c->mu);
    c->stopping = true;
    pthread_mutex_unlock(&c->mu);
    nudge(c);
    pthread_join(c->thread, NULL);
    for (size_t i = 0; i < PAIRS; i++)
        if (c->pairs[i].client >= 0)
            drop(&c->pairs[i]);
    close(c->listener);
    close(c->wake);
    pthread_mutex_destroy(&c->mu);
    free(c->host);
    free(c->server_port);
    free(c);
}

int cutter_port(const struct cutter *c)
{
    return c->port;
}

void cutter_arm(struct cutter *c, int n, bool after_answer)
{
    pthread_mutex_lock(&c->mu);
    c->left = n;
    c->after = after_answer;
    c->fired = false;
    pthread_mutex_unlock(&c->mu);
}

bool cutter_fired(struct cutter *c)
{
    pthread_mutex_lock(&c->mu);
    bool fired = c->fired;
    pthread_mutex_unlock(&c->mu);
    return fired;
}

void cutter_stall(struct cutter *c, bool stalled)
{
    pthread_mutex_lock(&c->mu);
    c->stalled = stalled;
    pthread_mutex_unlock(&c->mu);
    nudge(c);
}

void cutter_refuse(struct cutter *c, bool refusing)
{
    pthread_mutex_lock(&c->mu);
    c->refusing = refusing;
    pthread_mutex_unlock(&c->mu);
    nudge(c);
}

int cutter_refused(struct cutter *c)
{
    pthread_mutex_lock(&c->mu);
    int refused = c->refused;
    pthread_mutex_unlock(&c->mu);
    return refused;
}
