/* SPDX-License-Identifier: MIT */
/*
 * One thread, one poll: the stop flag, SIGHUP, and for each child its end and the pipe it reports readiness through.
 */
#include "cli/supervisor.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/proc.h"
#include "base/stop.h"
#include "cli/commands.h"
#include "cli/role.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    FIRST_DELAY_MS = 100,
    MIN_DELAY_MS = 1000,
    MAX_DELAY_MS = 30000,
    LONG_LIFE_MS = 60000,
    START_TRIES = 3,
    TICK_MS = 200, /* while stopping: how soon a second stop is seen */
    MAX_ROLES = 4,
    MAX_ARGS = 60,
    READY_FD = 3,
    READY_MAX = 65536,
};

struct child {
    const struct role *role;
    struct proc *proc; /* NULL: not running */
    int ready_fd;      /* -1: nothing to come */
    struct buf ready;
    bool was_ready;
    int failures; /* ends before it was ever ready */
    int64_t started_ms, restart_ms, delay_ms;
};

struct supervisor {
    const struct supervisor_opts *o;
    struct child children[MAX_ROLES];
    int hup_fd;
    bool stopping, killed;
    size_t draining;     /* which child, while stopping */
    int64_t deadline_ms; /* for it */
    int status;          /* exit status so far */
};

static const struct log_ctx lc = {.component = "serve"};

static int start(struct supervisor *s, struct child *c, struct err *err)
{
    const char *argv[MAX_ARGS] = {"steno", c->role->name};
    size_t n = 2;
    for (char **f = s->o->flags; *f; f++) {
        if (n >= MAX_ARGS - 1 - SUPERVISOR_EXTRA_MAX)
            return err_set(err, ERR_INVALID, "too many flags: put them into a configuration file");
        argv[n++] = *f;
    }
    /* Behind the others: the later one counts. */
    const char *const *extra = c->role->extra_flags ? c->role->extra_flags(s->o->arg) : NULL;
    for (size_t i = 0; extra && extra[i] && i < SUPERVISOR_EXTRA_MAX; i++)
        argv[n++] = extra[i];

    CLEANUP(close_fd) int read_end = -1;
    CLEANUP(close_fd) int write_end = -1;
    int rc = c->role->ready ? proc_pipe(&read_end, &write_end, err) : 0;
    if (rc < 0)
        return rc;
    CLEANUP(free_p) char *supervisor = xasprintf(ROLE_ENV_SUPERVISOR "=%d", (int)getpid());
    CLEANUP(free_p) char *ready = xasprintf(ROLE_ENV_READY "=%s", c->role->ready ? "3" : "");
    const struct proc_fd fds[] = {{READY_FD, write_end}};
    const struct proc_opts opts = {
        .argv = argv,
        .setenv = (const char *const[]){supervisor, ready, NULL},
        .fds = fds,
        .n_fds = c->role->ready ? 1 : 0,
        .keep_stderr = true,
        .hold_hangup = true,
        .own_group = true, /* a Ctrl-C at the terminal comes to us alone, so that we can drain in order */
    };
    rc = proc_spawn(&opts, &c->proc, err);
    if (rc < 0)
        return rc;
    c->started_ms = clock_mono_ms();
    buf_reset(&c->ready);
    c->ready_fd = read_end;
    read_end = -1;
    log_debug(&lc, "%s started (pid %d)", c->role->name, (int)proc_pid(c->proc));
    return 0;
}

static void begin_stop(struct supervisor *s)
{
    if (s->stopping)
        return;
    s->stopping = true;
    s->draining = 0;
    s->deadline_ms = 0; /* SIGTERM is not sent yet */
}

static void give_up(struct supervisor *s, const struct child *c, int status, const char *why)
{
    log_error(&lc, "giving up: %s %s", c->role->name, why);
    s->status = status;
    begin_stop(s);
}

/* How long until the next start, by how it lived. */
static int64_t next_delay(struct child *c, int64_t now)
{
    if (now - c->started_ms >= LONG_LIFE_MS)
        c->delay_ms = 0;
    int64_t delay = c->delay_ms ? c->delay_ms : FIRST_DELAY_MS;
    c->delay_ms = c->delay_ms ? MIN(c->delay_ms * 2, MAX_DELAY_MS) : MIN_DELAY_MS;
    return delay;
}

static void ended(struct supervisor *s, struct child *c, int status)
{
    char how[128];
    proc_describe(status, how, sizeof how);
    int pid = (int)proc_pid(c->proc), code = WIFEXITED(status) ? WEXITSTATUS(status) : STATUS_FAILED;
    /* Our SIGTERM came before it could handle it: it had not begun anything. */
    if (s->stopping && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM)
        code = STATUS_OK;
    proc_free(c->proc);
    c->proc = NULL;
    close_fd(&c->ready_fd);
    if (s->stopping) {
        if (code != STATUS_OK && !s->status) {
            log_warn(&lc, "%s (pid %d) ended with %s", c->role->name, pid, how);
            s->status = STATUS_FAILED;
        }
        return;
    }
    if (code == STATUS_USAGE) {
        give_up(s, c, code, "says that it cannot run with this configuration");
        return;
    }
    if (c->role->ready && !c->was_ready && ++c->failures >= START_TRIES) {
        give_up(s, c, code, "did not start");
        return;
    }
    int64_t now = clock_mono_ms(), delay = next_delay(c, now);
    c->restart_ms = now + delay;
    log_warn(&lc, "%s (pid %d) ended: %s; starting it again in %.1f s", c->role->name, pid, how, (double)delay / 1000);
}

/* Reads what there is; the end of the pipe with something in it means ready. */
static int read_ready(struct supervisor *s, struct child *c, struct err *err)
{
    char piece[4096];
    ssize_t n = read(c->ready_fd, piece, sizeof piece);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN ? 0 : err_sys(err, errno, "reading from %s", c->role->name);
    if (n > 0) {
        buf_add(&c->ready, piece, (size_t)n);
        return 0;
    }
    close_fd(&c->ready_fd);
    if (!c->ready.len || !buf_ok(&c->ready))
        return 0;
    c->was_ready = true;
    return c->role->ready(c->ready.data, s->o->arg, err);
}

static void send_all(struct supervisor *s, int sig)
{
    for (size_t i = 0; i < s->o->n_roles; i++) {
        struct child *c = &s->children[i];
        if (c->proc && sig == SIGKILL)
            proc_kill(c->proc, sig); /* with its children */
        else if (c->proc)
            kill(proc_pid(c->proc), sig);
    }
}

/* One step of stopping; true when all are gone. */
static bool drain(struct supervisor *s)
{
    int64_t now = clock_mono_ms();
    if (stop_requested() > 1 && !s->killed) {
        log_warn(&lc, "asked to stop again: killing all");
        s->killed = true;
        s->status = s->status ? s->status : STATUS_FAILED;
        send_all(s, SIGKILL);
    }
    for (; s->draining < s->o->n_roles; s->draining++, s->deadline_ms = 0) {
        struct child *c = &s->children[s->draining];
        if (!c->proc)
            continue;
        if (!s->deadline_ms) {
            log_debug(&lc, "stopping %s", c->role->name);
            s->deadline_ms = now + c->role->drain_ms;
            kill(proc_pid(c->proc), SIGTERM);
        } else if (now >= s->deadline_ms && !s->killed) {
            log_warn(&lc, "%s did not stop in %.0f s: killing it", c->role->name, (double)c->role->drain_ms / 1000);
            s->deadline_ms = INT64_MAX;
            proc_kill(c->proc, SIGKILL);
        }
        return false;
    }
    return true;
}

/* It has run before: what is short now (processes, memory, descriptors) passes, and the others do well meanwhile. */
static void try_again(struct child *c, const struct err *why)
{
    int64_t now = clock_mono_ms(), delay = next_delay(c, now);
    c->started_ms = now; /* each try counts as a short life: the delay grows */
    c->restart_ms = now + delay;
    log_warn(&lc, "%s cannot be started: %s; trying again in %.1f s", c->role->name, why->msg, (double)delay / 1000);
}

static int start_due(struct supervisor *s, struct err *err)
{
    for (size_t i = 0; i < s->o->n_roles; i++) {
        struct child *c = &s->children[i];
        if (c->proc || clock_mono_ms() < c->restart_ms)
            continue;
        int rc = start(s, c, err);
        if (rc < 0 && (rc == ERR_INVALID || !c->started_ms))
            return rc;
        if (rc < 0)
            try_again(c, err);
    }
    return 0;
}

static int poll_ms(const struct supervisor *s)
{
    if (s->stopping)
        return TICK_MS;
    int64_t now = clock_mono_ms(), next = INT64_MAX;
    for (size_t i = 0; i < s->o->n_roles; i++)
        if (!s->children[i].proc)
            next = MIN(next, s->children[i].restart_ms);
    return next == INT64_MAX ? -1 : (int)CLAMP(next - now, 0, MAX_DELAY_MS);
}

static void hangup(struct supervisor *s)
{
    struct signalfd_siginfo info;
    if (read(s->hup_fd, &info, sizeof info) != sizeof info)
        return;
    if (s->o->hangup)
        s->o->hangup(s->o->arg);
    send_all(s, SIGHUP);
}

/* Waits until something happens and handles it. */
static int step(struct supervisor *s, struct err *err)
{
    struct pollfd fds[2 + 2 * MAX_ROLES];
    fds[0] = (struct pollfd){.fd = s->stopping ? -1 : stop_fd(), .events = POLLIN};
    fds[1] = (struct pollfd){.fd = s->hup_fd, .events = POLLIN};
    size_t n = s->o->n_roles;
    for (size_t i = 0; i < n; i++) {
        const struct child *c = &s->children[i];
        fds[2 + i] = (struct pollfd){.fd = c->proc ? proc_fd(c->proc) : -1, .events = POLLIN};
        fds[2 + n + i] = (struct pollfd){.fd = c->ready_fd, .events = POLLIN};
    }
    if (poll(fds, 2 + 2 * n, poll_ms(s)) < 0)
        return errno == EINTR ? 0 : err_sys(err, errno, "waiting for children");
    if (fds[1].revents)
        hangup(s);
    for (size_t i = 0; i < n; i++) {
        struct child *c = &s->children[i];
        int status, rc = fds[2 + n + i].revents ? read_ready(s, c, err) : 0;
        if (rc >= 0 && fds[2 + i].revents && (rc = proc_wait(c->proc, 0, &status, err)) > 0)
            ended(s, c, status);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int supervisor_run(const struct supervisor_opts *o, struct err *err)
{
    struct supervisor s = {.o = o, .hup_fd = -1};
    if (o->n_roles > MAX_ROLES)
        return err_set(err, ERR_INTERNAL, "too many roles");
    for (size_t i = 0; i < o->n_roles; i++) {
        s.children[i] = (struct child){.role = &o->roles[i], .ready_fd = -1};
        buf_init(&s.children[i].ready, READY_MAX);
    }
    sigset_t hup;
    sigemptyset(&hup);
    sigaddset(&hup, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &hup, NULL);
    s.hup_fd = signalfd(-1, &hup, SFD_CLOEXEC);
    int rc = s.hup_fd < 0 ? err_sys(err, errno, "cannot wait for SIGHUP") : 0;
    while (rc >= 0) {
        if (stop_requested())
            begin_stop(&s);
        if (s.stopping && drain(&s))
            break;
        rc = s.stopping ? 0 : start_due(&s, err);
        if (rc >= 0)
            rc = step(&s, err);
    }
    for (size_t i = 0; i < o->n_roles; i++) {
        proc_free(s.children[i].proc);
        close_fd(&s.children[i].ready_fd);
        buf_clear(&s.children[i].ready);
    }
    close_fd(&s.hup_fd);
    return rc < 0 ? rc : s.status;
}
