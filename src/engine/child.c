/* SPDX-License-Identifier: MIT */
/* See child.h. `converse` is the parent's whole conversation: one poll loop that sends, receives, and watches the time.
 */
#include "engine/child.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/proc.h"
#include "base/str.h"
#include "base/thread.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    POLL_MS = 100,     /* between looks at cancel */
    END_MS = 500,      /* for a child to free its model and end */
    DYING_MS = 3000,   /* from closing the socket to being dead: writing a core file takes time */
    TAIL_BYTES = 3000, /* of what it wrote to stderr last ... */
    IN_MESSAGE = 300,  /* ... and of that in a sentence about its death */
};

struct child {
    struct proc *proc;
    int sock, errors; /* the socket and the read end of its stderr; -1: closed */
    bool broken;      /* in the middle of something: good for killing only */
    int status;       /* how it died, -1: it did not */
    char tail[TAIL_BYTES + 1];
    size_t tail_len;
};

/* Bytes on their way to the child. */
struct outgoing {
    const void *data;
    size_t n;
};

static void keep_errors(struct child *c)
{
    char piece[1024];
    ssize_t n = read(c->errors, piece, sizeof piece);
    if (n <= 0) {
        close_fd(&c->errors);
        return;
    }
    const char *from = piece;
    if (n > TAIL_BYTES) {
        from += n - TAIL_BYTES;
        n = TAIL_BYTES;
    }
    size_t keep = MIN(c->tail_len, (size_t)(TAIL_BYTES - n));
    memmove(c->tail, c->tail + c->tail_len - keep, keep);
    memcpy(c->tail + keep, from, (size_t)n);
    c->tail_len = keep + (size_t)n;
    c->tail[c->tail_len] = '\0';
}

/* The socket has ended: find out how the child did. */
static int died(struct child *c, const struct child_limits *limits, struct err *err)
{
    c->broken = true;
    int status = 0, rc = 0;
    for (int64_t until = clock_mono_ms() + DYING_MS; rc == 0 && clock_mono_ms() < until;) {
        if (cancel_is_set(limits->cancel))
            return err_set(err, ERR_CANCELLED, "cancelled");
        rc = proc_wait(c->proc, POLL_MS, &status, err);
    }
    if (rc < 0)
        return rc;
    if (rc == 0) /* it lives, but nothing more will come from it */
        return err_set(err, ERR_CRASHED, "the engine's process stopped answering");
    c->status = status;
    /* What it wrote last stands in the pipe; no one else holds the other end, so this ends. */
    while (c->errors >= 0)
        keep_errors(c);
    char how[80];
    proc_describe(status, how, sizeof how);
    err_set(err, ERR_CRASHED, "the engine's process died (%s)", how);
    CLEANUP(buf_clear) struct buf said = BUF_INIT((size_t)4 * IN_MESSAGE);
    size_t in_message = MIN(c->tail_len, (size_t)IN_MESSAGE);
    utf8_add_clean(&said, c->tail + c->tail_len - in_message, in_message);
    while (said.len && said.data[said.len - 1] == '\n')
        said.data[--said.len] = '\0';
    CLEANUP(buf_clear) struct buf line = BUF_INIT((size_t)16 * IN_MESSAGE);
    str_add_printable(&line, buf_str(&said));
    if (line.len)
        err_set(err, ERR_CRASHED, "the engine's process died (%s); it said last: %s", how, buf_str(&line));
    return ERR_CRASHED;
}

static int nonsense(struct child *c, struct err *err)
{
    c->broken = true;
    return err_set(err, ERR_CRASHED, "the engine's process answered nonsense");
}

/* Sends what the socket takes. A dead child is noticed by the next receive. */
static void send_some(struct child *c, struct outgoing *out, size_t n_out)
{
    for (size_t i = 0; i < n_out; i++)
        while (out[i].n) {
            ssize_t k = send(c->sock, out[i].data, out[i].n, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (k < 0) {
                if (errno != EAGAIN && errno != EINTR)
                    out[i].n = 0;
                return;
            }
            out[i].data = (const char *)out[i].data + k;
            out[i].n -= (size_t)k;
        }
}

/* Receives what is there. 1: the reply is complete; 0: not yet. */
static int receive_some(struct child *c, struct child_reply *head, size_t *have, struct buf *body,
                        const struct child_limits *limits, struct err *err)
{
    for (;;) {
        char piece[16384];
        bool in_head = *have < sizeof *head;
        size_t want = in_head ? sizeof *head - *have : (size_t)MIN(head->size - body->len, sizeof piece);
        if (!in_head && !want)
            return 1;
        ssize_t k = recv(c->sock, piece, want, MSG_DONTWAIT);
        if (k == 0 || (k < 0 && errno != EAGAIN && errno != EINTR))
            return died(c, limits, err);
        if (k < 0)
            return 0;
        if (!in_head) {
            buf_add(body, piece, (size_t)k);
            int rc = buf_check(body, "the engine's answer", err);
            if (rc < 0) {
                c->broken = true;
                return rc;
            }
            continue;
        }
        memcpy((char *)head + *have, piece, (size_t)k);
        *have += (size_t)k;
        if (*have == sizeof *head && (head->magic != CHILD_MAGIC || head->size > CHILD_MAX_REPLY || head->status > 0))
            return nonsense(c, err);
    }
}

static int spawn(struct child *c, const char *const *argv, struct err *err)
{
    const char *full[8] = {"steno", "__engine"};
    for (size_t i = 0; argv[i]; i++) {
        if (i + 3 >= ARRAY_LEN(full))
            return err_set(err, ERR_INTERNAL, "too many arguments for an engine's process");
        full[i + 2] = argv[i];
    }
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(err, errno, "cannot make a socket for the engine's process");
    /* Its ends are closed here when it has them: else its death would not end our reads. */
    CLEANUP(close_fd) int theirs = pair[1], their_errors = -1;
    c->sock = pair[0];
    int rc = proc_pipe(&c->errors, &their_errors, err);
    if (rc < 0)
        return rc;
    const struct proc_fd fds[] = {{CHILD_FD, theirs}, {STDERR_FILENO, their_errors}};
    /* One chunk is one thread's work; BLAS and OpenMP read this before main, so it must stand in the environment. */
    static const char *const env[] = {"OPENBLAS_NUM_THREADS=1", "OMP_NUM_THREADS=1", NULL};
    const struct proc_opts opts = {.argv = full, .setenv = env, .fds = fds, .n_fds = ARRAY_LEN(fds), .own_group = true};
    return proc_spawn(&opts, &c->proc, err);
}

static int converse(struct child *c, struct outgoing *out, size_t n_out, const struct child_limits *limits,
                    struct buf *ret, struct err *err)
{
    CLEANUP(buf_clear) struct buf body = BUF_INIT(CHILD_MAX_REPLY);
    struct child_reply head = {0};
    size_t have = 0;
    for (int done = 0; !done;) {
        int64_t left = limits->until_ms - clock_mono_ms();
        if (cancel_is_set(limits->cancel) || left <= 0) {
            c->broken = true;
            return cancel_is_set(limits->cancel)
                       ? err_set(err, ERR_CANCELLED, "cancelled")
                       : err_set(err, ERR_TIMEOUT, "the engine took longer for one chunk than it may");
        }
        bool sending = false;
        for (size_t i = 0; i < n_out; i++)
            sending = sending || out[i].n;
        struct pollfd fds[] = {
            {.fd = c->sock, .events = (short)(sending ? POLLIN | POLLOUT : POLLIN)},
            {.fd = c->errors, .events = POLLIN},
        };
        if (poll(fds, ARRAY_LEN(fds), (int)MIN(left, POLL_MS)) < 0 && errno != EINTR) {
            c->broken = true;
            return err_sys(err, errno, "waiting for the engine's process");
        }
        if (fds[1].revents)
            keep_errors(c);
        if (fds[0].revents & POLLOUT)
            send_some(c, out, n_out);
        if (fds[0].revents & (POLLIN | POLLHUP | POLLERR))
            done = receive_some(c, &head, &have, &body, limits, err);
        if (done < 0)
            return done;
    }
    for (size_t i = 0; i < n_out; i++)
        c->broken = c->broken || out[i].n; /* answered before it had the whole question: it takes no other */
    if (head.status < 0)
        return err_set(err, head.status, "%s", buf_str(&body));
    buf_add(ret, buf_str(&body), body.len);
    return buf_check(ret, "the engine's answer", err);
}

/* The whole of a question and its answer. */
static int exchange(struct child *c, struct outgoing *out, size_t n_out, const struct child_limits *limits,
                    struct buf *ret, struct err *err)
{
    int rc = converse(c, out, n_out, limits, ret, err);
    if (rc >= 0 || !limits->said)
        return rc;
    struct pollfd more = {.fd = c->errors, .events = POLLIN};
    if (c->errors >= 0 && poll(&more, 1, 0) > 0)
        keep_errors(c);
    utf8_add_clean(limits->said, c->tail, c->tail_len);
    return rc;
}

int child_start(const char *const *argv, const struct child_limits *limits, struct child **ret, int *ret_status,
                struct err *err)
{
    struct child *c = xcalloc(1, sizeof *c);
    c->sock = c->errors = c->status = -1;
    CLEANUP(buf_clear) struct buf hello = BUF_INIT(CHILD_MAX_REPLY);
    int rc = spawn(c, argv, err);
    if (rc == 0)
        rc = exchange(c, NULL, 0, limits, &hello, err);
    *ret_status = c->status;
    if (rc < 0) {
        c->broken = true;
        child_free(c);
        return rc;
    }
    *ret = c;
    return 0;
}

int child_call(struct child *c, int64_t start, const int16_t *pcm, size_t n, const struct child_limits *limits,
               struct buf *ret, struct err *err)
{
    struct child_ask ask = {CHILD_MAGIC, CHILD_VERSION, start, n};
    struct outgoing out[] = {{&ask, sizeof ask}, {pcm, n * sizeof *pcm}};
    return exchange(c, out, ARRAY_LEN(out), limits, ret, err);
}

bool child_usable(struct child *c)
{
    int status;
    struct err ignored = ERR_INIT;
    return !c->broken && proc_wait(c->proc, 0, &status, &ignored) == 0;
}

void child_stop(struct child *c)
{
    close_fd(&c->sock);
}

void child_free(struct child *c)
{
    if (!c)
        return;
    int status;
    struct err ignored = ERR_INIT;
    bool asked = c->sock < 0 && !c->broken;
    close_fd(&c->sock);
    if (!asked || proc_wait(c->proc, END_MS, &status, &ignored) != 1) {
        if (c->proc)
            proc_kill(c->proc, SIGKILL);
    }
    proc_free(c->proc);
    close_fd(&c->errors);
    free(c);
}

/*
 * `busy` and `gone` are set by one thread each, before it looks at the other's: whichever comes second sees the first,
 * so either the watcher ends the busy process or child_side_next sees that the parent is gone.
 */
static void *watch(void *arg)
{
    struct child_side *s = arg;
    struct pollfd pfd = {.fd = CHILD_FD, .events = POLLRDHUP};
    while (poll(&pfd, 1, -1) < 0 && errno == EINTR)
        ;
    atomic_store(&s->gone, true);
    if (atomic_load(&s->busy))
        raise(SIGKILL); /* nothing here is worth an orderly end */
    return NULL;
}

static bool send_all(const void *data, size_t n)
{
    for (const char *at = data; n;) {
        ssize_t k = send(CHILD_FD, at, n, MSG_NOSIGNAL);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return false;
        at += k;
        n -= (size_t)k;
    }
    return true;
}

int child_side_open(struct child_side *s, struct err *err)
{
    *s = (struct child_side){.pcm = NULL};
    atomic_store(&s->busy, true);
    /* A signal to the whole service must not end a running chunk: the parent decides when its children end. */
    static const int ignored[] = {SIGTERM, SIGINT, SIGHUP};
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    for (size_t i = 0; i < ARRAY_LEN(ignored); i++)
        sigaction(ignored[i], &ignore, NULL);
    return thread_start(&s->watcher, "parent watch", watch, s, err);
}

int child_side_next(struct child_side *s, struct child_ask *ret, struct err *err)
{
    ssize_t n = io_read_full(CHILD_FD, ret, sizeof *ret, err);
    if (n < 0)
        return (int)n;
    if (n < (ssize_t)sizeof *ret)
        return 0;
    if (ret->magic != CHILD_MAGIC || ret->version != CHILD_VERSION || ret->n_samples > CHILD_MAX_SAMPLES)
        return err_set(err, ERR_INTERNAL, "the engine's process was asked nonsense");
    size_t bytes = (size_t)ret->n_samples * sizeof *s->pcm;
    int16_t *pcm = realloc(s->pcm, MAX(bytes, 1));
    if (!pcm)
        return err_set(err, ERR_NOMEM, "no memory for the sound of a chunk");
    s->pcm = pcm;
    n = io_read_full(CHILD_FD, s->pcm, bytes, err);
    if (n < 0)
        return (int)n;
    atomic_store(&s->busy, true);
    return (size_t)n == bytes && !atomic_load(&s->gone);
}

void child_side_reply(struct child_side *s, int status, const void *data, size_t n)
{
    /* The work is done: a parent that has read its answer may leave without having the child killed half-way out. */
    atomic_store(&s->busy, false);
    struct child_reply head = {CHILD_MAGIC, status, n};
    if (send_all(&head, sizeof head))
        send_all(data, n);
}

void child_side_close(struct child_side *s)
{
    atomic_store(&s->busy, false);
    shutdown(CHILD_FD, SHUT_RDWR); /* wakes the watcher, should the parent still be there */
    pthread_join(s->watcher, NULL);
    free(s->pcm);
    s->pcm = NULL;
}
