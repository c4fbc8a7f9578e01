/* SPDX-License-Identifier: MIT */
/*
 * What the old program leaves behind: its pid, its place in the process tree, what its environment says, and
 * descriptors 0 to 2. Everything else that is open gets close-on-exec, since not every library sets it. Children would
 * become children of the new program, which knows nothing of them, so they end before. What lies on the disk (the temp
 * folder, the local broker's pipe) is left as by a process that was killed, and swept in the same way.
 *
 * The count goes on in the environment, beside the pid it is about: a child would inherit it too.
 */
#include "cli/replace.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/stop.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ENV_COUNT "STENO_REPLACED" /* "PID:N" */

enum { REAP_MS = 2000, LOOK_MS = 10, PIDS_MAX = 1 << 20 };

static void kill_children_of(const char *task)
{
    CLEANUP(free_p) char *path = xasprintf("/proc/self/task/%s/children", task);
    CLEANUP(free_p) char *pids = NULL;
    char *save = NULL;
    size_t n;
    int64_t pid;
    struct err err = ERR_INIT;
    if (io_read_file(path, PIDS_MAX, &pids, &n, &err) < 0)
        return;
    for (char *p = strtok_r(pids, " ", &save); p; p = strtok_r(NULL, " ", &save))
        if (str_to_i64(p, &pid) && pid > 1)
            kill((pid_t)pid, SIGKILL);
}

/* Of every thread; where the kernel does not list them they end by themselves, when their pipes do. */
static void end_children(void)
{
    DIR *d = opendir("/proc/self/task");
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.')
            kill_children_of(e->d_name);
    if (d)
        closedir(d);
    for (int64_t until = clock_mono_ms() + REAP_MS; clock_mono_ms() < until;) {
        pid_t got = waitpid(-1, NULL, WNOHANG);
        if (got < 0 && errno != EINTR)
            break;
        if (got == 0)
            clock_sleep_ms(LOOK_MS);
    }
}

/* Our environment with the count of the next start; lives until the exec. */
static char **environment(unsigned count)
{
    static const char name[] = ENV_COUNT "=";
    size_t had = 0, at = 0;
    while (environ[had])
        had++;
    char **ret = xcalloc(had + 2, sizeof *ret);
    for (size_t i = 0; i < had; i++)
        if (!str_starts(environ[i], name))
            ret[at++] = environ[i];
    ret[at] = xasprintf("%s%d:%u", name, (int)getpid(), count);
    return ret;
}

unsigned replace_count(void)
{
    const char *text = getenv(ENV_COUNT);
    CLEANUP(free_p) char *mine = xasprintf("%d:", (int)getpid());
    int64_t n = 0;
    if (!text || !str_starts(text, mine) || !str_to_i64(text + strlen(mine), &n))
        return 0;
    return (unsigned)n;
}

int replace_process(char **argv, struct err *err)
{
    char **envp = environment(replace_count() + 1);
    end_children();
    stop_hold();
    if (stop_requested()) {
        stop_release();
        return err_set(err, ERR_CANCELLED, "asked to stop");
    }
    if (close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC) < 0) {
        /* An old kernel: what libraries left open stays open. */
    }
    execve("/proc/self/exe", argv, envp);
    int sys = errno;
    stop_release();
    return err_sys(err, sys, "cannot start again");
}
