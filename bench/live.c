/* SPDX-License-Identifier: MIT */
/*
 * Holds many WebSockets to one server and measures when each is told of the end of its job.
 *
 *     live PORT SOCKETS < ids of jobs, one a line, then an empty line
 *
 * Socket i follows job i modulo their number. Prints "connected" when every socket got its snapshot, and, when all are
 * closed: how many were told the end, and how long after the job's `finished_at` that was. Answers pings.
 */
#include "base/buf.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ID_CHARS = 36, JOBS_MAX = 100000, OPENING_MAX = 256, MESSAGE_MAX = 1 << 20, PIECE = 65536 };

struct follower {
    int fd;
    bool shaken, seen, ended;
    struct buf in;
};

struct bench {
    int epoll;
    char (*jobs)[ID_CHARS + 1];
    size_t n_jobs, n, opened, seen, open;
    struct follower *followers;
    double *delays_ms;
    size_t n_delays;
    struct sockaddr_in server;
};

static void die(const char *what)
{
    fprintf(stderr, "live: %s: %m\n", what);
    exit(1);
}

static double wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void read_jobs(struct bench *b)
{
    char line[256];
    b->jobs = xcalloc(JOBS_MAX, sizeof *b->jobs);
    while (b->n_jobs < JOBS_MAX && fgets(line, sizeof line, stdin) && line[0] != '\n')
        snprintf(b->jobs[b->n_jobs++], sizeof *b->jobs, "%.36s", line);
    if (!b->n_jobs) {
        errno = EINVAL;
        die("no ids of jobs");
    }
}

static void send_whole(const struct follower *f, const char *p, size_t n)
{
    if (send(f->fd, p, n, MSG_NOSIGNAL) != (ssize_t)n)
        die("send");
}

static void open_next(struct bench *b)
{
    struct follower *f = &b->followers[b->opened];
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = f};
    char text[512];
    buf_init(&f->in, MESSAGE_MAX);
    f->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (f->fd < 0 || connect(f->fd, (const struct sockaddr *)&b->server, sizeof b->server) < 0)
        die("connect");
    int n = snprintf(text, sizeof text,
                     "GET /v1/jobs/%s/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                     b->jobs[b->opened % b->n_jobs]);
    send_whole(f, text, (size_t)n);
    if (epoll_ctl(b->epoll, EPOLL_CTL_ADD, f->fd, &e) < 0)
        die("epoll");
    b->opened++;
    b->open++;
}

/* "...finished_at":"2026-11-22T05:31:00.123Z" */
static void measure(struct bench *b, const char *text)
{
    static const char key[] = "\"finished_at\":\"";
    const char *p = strstr(text, key);
    struct tm tm = {0};
    const char *rest = p ? strptime(p + sizeof key - 1, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
    if (rest)
        b->delays_ms[b->n_delays++] = wall_ms() - ((double)timegm(&tm) * 1e3 + strtod(rest, NULL) * 1e3);
}

static void on_text(struct bench *b, struct follower *f, const char *text)
{
    if (!f->seen) {
        f->seen = true;
        b->seen++;
    }
    if (strstr(text, "{\"type\":\"end\"") == text)
        measure(b, text);
}

/* One whole frame at the front of the buffer: how long it is; 0: not there yet. */
static size_t take_frame(struct bench *b, struct follower *f)
{
    const unsigned char *p = (const unsigned char *)f->in.data;
    size_t have = f->in.len, head = 2, n = have > 1 ? p[1] : 0;
    if (have < 2)
        return 0;
    if (n == 126)
        head = 4, n = have < 4 ? MESSAGE_MAX : (size_t)p[2] << 8 | p[3];
    if (have < head + n)
        return 0;
    int opcode = p[0] & 15;
    if (opcode == 1) {
        char *text = strndup((const char *)p + head, n);
        if (!text)
            die("memory");
        on_text(b, f, text);
        free(text);
    } else if (opcode == 8) {
        send_whole(f,
                   "\x88\x82"
                   "abcd"
                   "\x62\x8a",
                   8);
    } else if (opcode == 9) {
        send_whole(f,
                   "\x8a\x80"
                   "abcd",
                   6);
    }
    return head + n;
}

static void on_input(struct bench *b, struct follower *f)
{
    char piece[PIECE];
    ssize_t n = recv(f->fd, piece, sizeof piece, 0);
    if (n <= 0) {
        close(f->fd);
        buf_clear(&f->in);
        b->open--;
        if (!f->seen)
            die("a connection was closed at once");
        return;
    }
    buf_add(&f->in, piece, (size_t)n);
    if (!f->shaken) {
        const char *end = strstr(buf_str(&f->in), "\r\n\r\n");
        if (!end)
            return;
        if (strncmp(f->in.data, "HTTP/1.1 101 ", 13) != 0) {
            fprintf(stderr, "live: %s\n", f->in.data);
            exit(1);
        }
        buf_consume(&f->in, (size_t)(end - f->in.data) + 4);
        f->shaken = true;
    }
    for (size_t taken; (taken = take_frame(b, f)) > 0;)
        buf_consume(&f->in, taken);
    if (!f->in.len)
        buf_clear(&f->in);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(struct bench *b)
{
    size_t n = b->n_delays;
    if (!n) {
        puts("ends 0");
        return;
    }
    qsort(b->delays_ms, n, sizeof *b->delays_ms, by_size);
    printf("ends %zu p50 %.1f p99 %.1f max %.1f\n", n, b->delays_ms[n / 2], b->delays_ms[n * 99 / 100],
           b->delays_ms[n - 1]);
}

int main(int argc, char **argv)
{
    struct rlimit r;
    struct bench b = {.epoll = epoll_create1(EPOLL_CLOEXEC)};
    if (argc != 3)
        return 2;
    getrlimit(RLIMIT_NOFILE, &r);
    r.rlim_cur = r.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &r);
    b.server = (struct sockaddr_in){.sin_family = AF_INET,
                                    .sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10)),
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    b.n = strtoul(argv[2], NULL, 10);
    b.followers = xcalloc(b.n, sizeof *b.followers);
    b.delays_ms = xcalloc(b.n, sizeof *b.delays_ms);
    read_jobs(&b);
    bool said = false;
    do {
        struct epoll_event ready[256];
        while (b.opened < b.n && b.opened - b.seen < OPENING_MAX)
            open_next(&b);
        int n = epoll_wait(b.epoll, ready, 256, -1);
        for (int i = 0; i < n; i++)
            on_input(&b, ready[i].data.ptr);
        if (b.seen == b.n && !said) {
            puts("connected");
            fflush(stdout);
            said = true;
        }
    } while (b.open);
    report(&b);
    close(b.epoll);
    free(b.jobs);
    free(b.followers);
    free(b.delays_ms);
    return 0;
}
