/* SPDX-License-Identifier: MIT */
/*
 * The local broker: a folder with one named pipe per listener, "tokens-<pid>-<random>.fifo" and
 * "events-<pid>-<random>.fifo". A sender reads the folder each time (it holds a handful of names, and a new listener
 * must be found at once) and writes the message, one line, to each pipe of the kind without waiting.
 *
 * Why pipes and not Unix datagram sockets: a datagram socket queues net.unix.max_dgram_qlen messages, which is 10 in a
 * fresh network namespace, so a burst loses most of its events; a pipe holds a megabyte. A pipe has no limit on the
 * length of its path either. A write of up to PIPE_BUF bytes goes in whole or not at all, also with many writers, so
 * lines do not mix.
 *
 * A pipe that nobody reads (ENXIO) belonged to a process that died: whoever finds it removes it. So that a pipe is
 * never found before its owner has opened it, it is made under another name and renamed.
 *
 * Only our own user can write here: the folder has mode 0700, the pipes 0600. Still, no length and no byte in a pipe is
 * trusted: lines end at '\n' or at the buffer's end, and what does not decode is dropped.
 *
 * A token wakes every worker process. That is harmless: each claims one job, or finds none.
 */
#include "broker/broker_ops.h"

#include "base/id.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "broker/broker_msg.h"
#include "broker/waiter.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEW_PREFIX "new-"
#define SUFFIX     ".fifo"

enum {
    OPEN_TRIES = 100,
    EVENT_PIPE_BYTES = 1 << 20, /* what an ordinary user may ask for (fs.pipe-max-size) */
    RX_BYTES = 4 * (BROKER_MSG_MAX + 1),
};

static const struct log_ctx lc = {.component = "broker"};
static const char tokens_kind[] = "tokens-", events_kind[] = "events-";

/* A pipe of ours and what ends a wait for it. */
struct listener {
    int fd; /* -1: does not listen, only waits */
    struct waiter waiter;
    char name[64];
};

struct local_broker {
    struct broker base;
    char *folder; /* for sentences */
    int dir;
    struct listener tokens, events;
    /* Bytes from the events pipe not taken apart yet; of the thread in next_event. */
    char rx[RX_BYTES];
    size_t rx_start, rx_end;
};

static struct local_broker *of(struct broker *b)
{
    return CONTAINER_OF(b, struct local_broker, base);
}

/* Whatever the reason: the broker is out of reach, and the caller goes on without it. */
static int fail(const struct local_broker *l, int sys, const char *what, struct err *err)
{
    err_sys(err, sys, "%s in broker folder '%s' failed", what, l->folder);
    return err->code = ERR_UNAVAILABLE;
}

/* Its own stream: the position of a directory descriptor is shared. */
static DIR *open_folder(const struct local_broker *l)
{
    int fd = openat(l->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        int sys = errno;
        close_fd(&fd);
        errno = sys;
    }
    return d;
}

/* Names of pipes whose makers died before they could rename them. One that lives makes itself a new one. */
static void remove_unfinished(const struct local_broker *l)
{
    DIR *d = open_folder(l);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));)
        if (str_starts(e->d_name, NEW_PREFIX))
            unlinkat(l->dir, e->d_name, 0);
    closedir(d);
}

/* A pipe by this name, open for reading: the descriptor. */
static int make_pipe(struct local_broker *l, const char *name, struct err *err)
{
    for (int i = 0; i < OPEN_TRIES; i++) {
        char unfinished[64], random[17];
        unsigned char bytes[8];
        random_bytes(bytes, sizeof bytes);
        str_hex(bytes, sizeof bytes, random);
        snprintf(unfinished, sizeof unfinished, NEW_PREFIX "%d-%s", (int)getpid(), random);
        if (mkfifoat(l->dir, unfinished, 0600) < 0)
            return fail(l, errno, "making a pipe", err);
        /* Also for writing: otherwise the pipe would be at its end whenever no sender has it open. */
        int fd = openat(l->dir, unfinished, O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0 && renameat(l->dir, unfinished, l->dir, name) == 0)
            return fd;
        int sys = errno;
        unlinkat(l->dir, unfinished, 0);
        close_fd(&fd);
        if (sys != ENOENT) /* another process that opened just now took ours for unfinished */
            return fail(l, sys, "opening a pipe", err);
    }
    return err_set(err, ERR_UNAVAILABLE, "cannot open a pipe in broker folder '%s'", l->folder);
}

static int listen_open(struct local_broker *l, const char *kind, struct listener *ret, struct err *err)
{
    char random[17];
    unsigned char bytes[8];
    random_bytes(bytes, sizeof bytes);
    str_hex(bytes, sizeof bytes, random);
    snprintf(ret->name, sizeof ret->name, "%s%d-%s" SUFFIX, kind, (int)getpid(), random);
    int fd = make_pipe(l, ret->name, err);
    if (fd < 0)
        return fd;
    ret->fd = fd;
    return 0;
}

static void listen_close(struct local_broker *l, struct listener *n)
{
    if (n->fd >= 0)
        unlinkat(l->dir, n->name, 0);
    close_fd(&n->fd);
    waiter_close(&n->waiter);
}

static void local_close(struct broker *b)
{
    struct local_broker *l = of(b);
    listen_close(l, &l->tokens);
    listen_close(l, &l->events);
    close_fd(&l->dir);
    free(l->folder);
    free(l);
}

static int local_open(const struct broker_opts *opts, const char *rest, struct broker **ret, struct err *err)
{
    if (rest[0] != '/' || (rest[1] == '/' && rest[2] != '/'))
        return err_set(err, ERR_INVALID, "the broker URL needs an absolute folder: local:/absolute/folder");
    int rc = io_mkdir_p(rest, err);
    if (rc < 0)
        return err_wrap(err, "broker");
    struct local_broker *l = xcalloc(1, sizeof *l);
    l->folder = xstrdup(rest);
    l->tokens.fd = l->events.fd = l->dir = -1;
    l->tokens.waiter.wake = l->events.waiter.wake = -1;
    struct stat st;
    rc = waiter_open(&l->tokens.waiter, err);
    if (rc >= 0)
        rc = waiter_open(&l->events.waiter, err);
    if (rc >= 0)
        l->dir = open(rest, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (rc >= 0 && (l->dir < 0 || fstat(l->dir, &st) < 0))
        rc = fail(l, errno, "opening", err);
    else if (rc >= 0 && st.st_mode & 022)
        rc = err_set(err, ERR_INVALID, "others can write to broker folder '%s'; run: chmod 700 '%s'", rest, rest);
    if (rc >= 0)
        remove_unfinished(l);
    if (rc >= 0 && opts->tokens)
        rc = listen_open(l, tokens_kind, &l->tokens, err);
    if (rc >= 0 && opts->events)
        rc = listen_open(l, events_kind, &l->events, err);
    if (rc < 0) {
        local_close(&l->base);
        return rc;
    }
    if (l->events.fd >= 0 && fcntl(l->events.fd, F_SETPIPE_SZ, EVENT_PIPE_BYTES) < 0)
        log_debug(&lc, "the events pipe stays at its usual size: %m");
    *ret = &l->base;
    return 0;
}

/* Writes one line to the pipe `name`; removes the pipe when nobody reads it any more. */
static void send_to(const struct local_broker *l, const char *name, const char *line, size_t n)
{
    CLEANUP(close_fd) int to = openat(l->dir, name, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (to < 0) {
        if (errno == ENXIO && unlinkat(l->dir, name, 0) == 0)
            log_debug(&lc, "removed the pipe '%s' of a process that is gone", name);
        return;
    }
    struct stat st;
    if (fstat(to, &st) < 0 || !S_ISFIFO(st.st_mode))
        return;
    /* A read end of our own: should the listener die before the write, there is no SIGPIPE. */
    CLEANUP(close_fd) int from = openat(l->dir, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (from < 0)
        return;
    if (write(to, line, n) < 0)
        log_debug(&lc, "'%s' misses a message: %m", name);
}

static int send_all(struct local_broker *l, const char *kind, const char *msg, size_t len, struct err *err)
{
    char line[PIPE_BUF];
    _Static_assert(BROKER_MSG_MAX + 1 <= sizeof line, "a message and its line end go in one piece");
    memcpy(line, msg, len);
    line[len] = '\n';
    DIR *d = open_folder(l);
    if (!d)
        return fail(l, errno, "reading", err);
    for (struct dirent *e; (e = readdir(d));)
        if (str_starts(e->d_name, kind))
            send_to(l, e->d_name, line, len + 1);
    closedir(d);
    return 0;
}

static int local_send_token(struct broker *b, const char *queue, const char *body, size_t len, struct err *err)
{
    (void)queue;
    return send_all(of(b), tokens_kind, body, len, err);
}

static int local_send_event(struct broker *b, const char *msg, size_t len, struct err *err)
{
    return send_all(of(b), events_kind, msg, len, err);
}

/* Is the pipe still where senders look for it? */
static int check_listener(const struct local_broker *l, const struct listener *n, struct err *err)
{
    struct stat mine, there;
    if (n->fd < 0)
        return 0;
    if (fstat(n->fd, &mine) < 0 || fstatat(l->dir, n->name, &there, AT_SYMLINK_NOFOLLOW) < 0)
        return fail(l, errno, "looking for a pipe", err);
    if (mine.st_ino != there.st_ino || mine.st_dev != there.st_dev)
        return err_set(err, ERR_UNAVAILABLE, "somebody replaced a pipe in broker folder '%s'", l->folder);
    return 0;
}

/*
 * Whatever cleans folders may have taken the pipe away: nobody would reach us any more. The new one has the same name
 * and the same descriptor, since local_ping looks at both from another thread.
 */
static int keep_listening(struct local_broker *l, const struct listener *n, struct err *err)
{
    struct err gone = ERR_INIT;
    if (check_listener(l, n, &gone) >= 0)
        return 0;
    CLEANUP(close_fd) int fd = make_pipe(l, n->name, err);
    if (fd < 0)
        return fd;
    if (dup3(fd, n->fd, O_CLOEXEC) < 0)
        return fail(l, errno, "making a pipe again", err);
    log_warn(&lc, "the pipe '%s' was taken away: made anew", n->name);
    return 0;
}

static int local_wait(struct broker *b, int64_t timeout_ms, struct err *err)
{
    struct local_broker *l = of(b);
    int rc = keep_listening(l, &l->tokens, err);
    if (rc < 0)
        return rc;
    rc = waiter_wait(&l->tokens.waiter, l->tokens.fd, true, waiter_deadline(timeout_ms), err);
    if (rc != WAITER_READABLE)
        return rc < 0 ? rc : 0;
    /* All that is there is one wake-up. Bounded, should senders be faster than we are. */
    char sink[PIPE_BUF];
    for (int i = 0; i < 64 && read(l->tokens.fd, sink, sizeof sink) > 0; i++)
        ;
    return 1;
}

static void local_interrupt(struct broker *b)
{
    struct local_broker *l = of(b);
    waiter_wake(&l->tokens.waiter);
    waiter_wake(&l->events.waiter);
}

/* The next event among the bytes already read. */
static bool take_event(struct local_broker *l, struct event *ret)
{
    for (;;) {
        const char *start = l->rx + l->rx_start;
        size_t have = l->rx_end - l->rx_start;
        const char *end = memchr(start, '\n', have);
        if (!end) {
            /* The beginning of a line; one that fills the buffer is none of ours. */
            memmove(l->rx, start, have);
            l->rx_start = 0;
            l->rx_end = have < sizeof l->rx ? have : 0;
            return false;
        }
        l->rx_start += (size_t)(end - start) + 1;
        if (broker_event_decode(start, (size_t)(end - start), ret))
            return true;
        log_debug(&lc, "dropped a malformed event of %zu bytes", (size_t)(end - start));
    }
}

static int local_next_event(struct broker *b, int64_t timeout_ms, struct event *ret, struct err *err)
{
    struct local_broker *l = of(b);
    int64_t until = waiter_deadline(timeout_ms);
    int kept = keep_listening(l, &l->events, err);
    if (kept < 0)
        return kept;
    for (;;) {
        if (take_event(l, ret))
            return 1;
        ssize_t k = l->events.fd < 0 ? 0 : read(l->events.fd, l->rx + l->rx_end, sizeof l->rx - l->rx_end);
        if (k > 0) {
            l->rx_end += (size_t)k;
            continue;
        }
        if (k < 0 && errno != EAGAIN && errno != EINTR)
            return fail(l, errno, "reading a pipe", err);
        int rc = waiter_wait(&l->events.waiter, l->events.fd, false, until, err);
        if (rc != WAITER_READABLE)
            return rc < 0 ? rc : 0;
    }
}

static int local_ping(struct broker *b, struct err *err)
{
    struct local_broker *l = of(b);
    DIR *d = open_folder(l);
    if (!d)
        return fail(l, errno, "reading", err);
    closedir(d);
    int rc = check_listener(l, &l->tokens, err);
    return rc < 0 ? rc : check_listener(l, &l->events, err);
}

const struct broker_ops broker_local_ops = {
    .scheme = "local",
    .open = local_open,
    .close = local_close,
    .send_token = local_send_token,
    .send_event = local_send_event,
    .wait = local_wait,
    .interrupt = local_interrupt,
    .next_event = local_next_event,
    .ping = local_ping,
};
