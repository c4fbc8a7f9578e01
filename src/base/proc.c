/* SPDX-License-Identifier: MIT */
/*
 * A child is watched through a pidfd, which poll can wait for with a time-out and which names no stranger after
 * the pid was reused. Descriptors are first copied to high numbers, so that mapping one to a number another
 * still occupies cannot lose it.
 */
#include "base/proc.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_FDS = 16, HIGH_FD = 64 };

struct proc {
    pid_t pid;
    int pidfd;
    bool own_group, reaped;
    int status;
};

/* Our environment with the given "NAME=value" entries in place of equally named ones. */
static char **make_environ(const char *const *set)
{
    size_t have = 0, add = 0, n = 0;
    while (environ && environ[have])
        have++;
    while (set && set[add])
        add++;
    char **env = xcalloc(have + add + 1, sizeof *env);
    for (size_t i = 0; i < have; i++) {
        bool replaced = false;
        for (size_t k = 0; k < add && !replaced; k++) {
            size_t name = strcspn(set[k], "=") + 1;
            replaced = strncmp(environ[i], set[k], name) == 0;
        }
        if (!replaced)
            env[n++] = environ[i];
    }
    for (size_t k = 0; k < add; k++)
        memcpy(&env[n++], &set[k], sizeof *env); /* spawn wants char *, changes nothing */
    return env;
}

/*
 * What the child does with its descriptors: the listed ones from their high copies, /dev/null where 0, 1 or 2 is
 * missing, nothing else up to the highest. 0 or an errno.
 */
static int add_fds(posix_spawn_file_actions_t *fa, const struct proc_opts *opts, const int *high)
{
    bool have[HIGH_FD] = {[2] = opts->keep_stderr};
    int sys = 0, end = 3;
    for (size_t i = 0; !sys && i < opts->n_fds; i++) {
        int child = opts->fds[i].child;
        sys = posix_spawn_file_actions_adddup2(fa, high[i], child);
        have[child] = true;
        end = MAX(end, child + 1);
    }
    for (int fd = 0; !sys && fd < end; fd++)
        if (!have[fd])
            sys = fd < 3 ? posix_spawn_file_actions_addopen(fa, fd, "/dev/null", O_RDWR, 0)
                         : posix_spawn_file_actions_addclose(fa, fd);
    return sys ? sys : posix_spawn_file_actions_addclosefrom_np(fa, end);
}

int proc_spawn(const struct proc_opts *opts, struct proc **ret, struct err *err)
{
    int high[MAX_FDS], rc = 0;
    if (opts->n_fds > MAX_FDS)
        return err_set(err, ERR_INTERNAL, "too many descriptors for a child");
    for (size_t i = 0; i < opts->n_fds; i++)
        if (opts->fds[i].child < 0 || opts->fds[i].child >= HIGH_FD)
            return err_set(err, ERR_INTERNAL, "no child gets descriptor %d", opts->fds[i].child);

    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    posix_spawn_file_actions_init(&fa);
    posix_spawnattr_init(&attr);

    size_t copied = 0;
    for (; copied < opts->n_fds; copied++) {
        high[copied] = fcntl(opts->fds[copied].parent, F_DUPFD_CLOEXEC, HIGH_FD);
        if (high[copied] < 0) {
            rc = err_sys(err, errno, "cannot copy a descriptor");
            goto out;
        }
    }
    sigset_t all, mask;
    sigfillset(&all);
    sigemptyset(&mask);
    posix_spawnattr_setsigdefault(&attr, &all);
    if (opts->hold_hangup)
        sigaddset(&mask, SIGHUP);
    posix_spawnattr_setsigmask(&attr, &mask);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setflags(
        &attr, (short)(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | (opts->own_group ? POSIX_SPAWN_SETPGROUP : 0)));

    char *argv[64];
    size_t argc = 0;
    while (argc < ARRAY_LEN(argv) - 1 && opts->argv[argc]) {
        memcpy(&argv[argc], &opts->argv[argc], sizeof *argv);
        argc++;
    }
    argv[argc] = NULL;

    const char *path = opts->path ? opts->path : "/proc/self/exe";
    pid_t pid = -1;
    int sys = opts->argv[argc] ? E2BIG : add_fds(&fa, opts, high);
    if (!sys) {
        char **env = make_environ(opts->setenv);
        sys = posix_spawnp(&pid, path, &fa, &attr, argv, env);
        free(env);
    }
    if (sys) {
        rc = err_sys(err, sys, "cannot start '%s'", opts->path ? opts->path : argv[0]);
        goto out;
    }
    struct proc *p = xcalloc(1, sizeof *p);
    p->pid = pid;
    p->own_group = opts->own_group;
    p->pidfd = pidfd_open(pid, 0);
    if (p->pidfd < 0) {
        rc = err_sys(err, errno, "cannot watch process %d", (int)pid);
        proc_free(p);
        goto out;
    }
    *ret = p;
out:
    for (size_t i = 0; i < copied; i++)
        close(high[i]);
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&attr);
    return rc;
}

pid_t proc_pid(const struct proc *p)
{
    return p->pid;
}

int proc_fd(const struct proc *p)
{
    return p->pidfd;
}

void proc_kill(struct proc *p, int sig)
{
    if (!p->reaped)
        kill(p->own_group ? -p->pid : p->pid, sig);
}

int proc_wait(struct proc *p, int64_t timeout_ms, int *ret_status, struct err *err)
{
    const int64_t until = timeout_ms < 0 ? INT64_MAX : clock_mono_ms() + MIN(timeout_ms, INT64_MAX / 2);
    while (!p->reaped) {
        pid_t got = waitpid(p->pid, &p->status, WNOHANG);
        if (got == p->pid) {
            p->reaped = true;
            break;
        }
        if (got < 0 && errno != EINTR)
            return err_sys(err, errno, "waiting for process %d", (int)p->pid);
        int64_t left = until - clock_mono_ms();
        if (left <= 0)
            return 0;
        struct pollfd pfd = {.fd = p->pidfd, .events = POLLIN};
        if (poll(&pfd, 1, (int)MIN(left, INT32_MAX)) < 0 && errno != EINTR)
            return err_sys(err, errno, "waiting for process %d", (int)p->pid);
    }
    *ret_status = p->status;
    return 1;
}

void proc_free(struct proc *p)
{
    if (!p)
        return;
    if (!p->reaped) {
        proc_kill(p, SIGKILL);
        while (waitpid(p->pid, &p->status, 0) < 0 && errno == EINTR)
            ;
    }
    if (p->pidfd >= 0)
        close(p->pidfd);
    free(p);
}

void proc_describe(int status, char *ret, size_t size)
{
    const char *name = sigdescr_np(WTERMSIG(status)); /* strsignal is not for threads */
    if (WIFSIGNALED(status))
        snprintf(ret, size, "killed by signal %d (%s)", WTERMSIG(status), name ? name : "unknown");
    else
        snprintf(ret, size, "exit status %d", WEXITSTATUS(status));
}

int proc_pipe(int *ret_read, int *ret_write, struct err *err)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return err_sys(err, errno, "cannot make a pipe");
    *ret_read = fds[0];
    *ret_write = fds[1];
    return 0;
}
