/* SPDX-License-Identifier: MIT */
/*
 * The kernel says three things: the affinity mask, which processors share a core (sysfs), and the quota of the control
 * group. Inside a container the group's path may be the host's, which is not mounted there: walking up from it ends at
 * the root of what is mounted, which is the container's own group.
 */
#include "base/cpu.h"

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 1 << 16 };

/* The number at the start of *text, which moves on behind it; false when there is none. */
static bool number(const char **text, int64_t *ret)
{
    char *end;
    *ret = strtoll(*text, &end, 10);
    bool found = end != *text;
    *text = end;
    return found;
}

/* The first numbers of a small file, "0-1" or "0,4" or "100000 50000"; false when there are not `n`. */
static bool numbers_of(const char *path, int64_t *ret, size_t n)
{
    CLEANUP(free_p) char *text = NULL;
    struct err ignored = ERR_INIT;
    size_t len;
    if (io_read_file(path, FILE_MAX, &text, &len, &ignored) < 0)
        return false;
    const char *at = text;
    for (size_t i = 0; i < n; i++)
        if (!number(&at, &ret[i]))
            return false;
    return true;
}

unsigned cpu_cores_in(const char *sys, const int *cpus, unsigned n_cpus)
{
    /* A core goes by its first thread, which may be outside the mask; -1: not known, a core of its own. */
    CLEANUP(free_p) int64_t *core = xcalloc(n_cpus + 1, sizeof *core);
    unsigned cores = 0;
    for (unsigned i = 0; i < n_cpus; i++) {
        CLEANUP(free_p)
        char *path = xasprintf("%s/devices/system/cpu/cpu%d/topology/thread_siblings_list", sys, cpus[i]);
        bool seen = false;
        if (!numbers_of(path, &core[i], 1))
            core[i] = -1;
        for (unsigned k = 0; k < i && core[i] >= 0 && !seen; k++)
            seen = core[k] == core[i];
        cores += !seen;
    }
    return MAX(cores, 1u);
}

/* Quota over period of one group, rounded up; 0: none. `v2`: one file "QUOTA PERIOD", else two files. */
static unsigned group_quota(const char *folder, bool v2)
{
    CLEANUP(free_p) char *quota = xasprintf("%s/%s", folder, v2 ? "cpu.max" : "cpu.cfs_quota_us");
    CLEANUP(free_p) char *period = xasprintf("%s/cpu.cfs_period_us", folder);
    int64_t v[2];
    /* "max 100000" begins with no number. */
    bool found = v2 ? numbers_of(quota, v, 2) : numbers_of(quota, &v[0], 1) && numbers_of(period, &v[1], 1);
    return found && v[0] > 0 && v[1] > 0 ? (unsigned)MIN((v[0] + v[1] - 1) / v[1], 65536) : 0;
}

/* The least quota from `path` up to the root of the hierarchy mounted at `mount`. Changes path. */
static unsigned least_quota(const char *mount, char *path, bool v2)
{
    unsigned least = 0;
    for (;;) {
        CLEANUP(free_p) char *folder = xasprintf("%s%s", mount, path);
        unsigned quota = group_quota(folder, v2);
        if (quota && (!least || quota < least))
            least = quota;
        char *slash = strrchr(path, '/');
        if (!slash || !*path)
            return least;
        *slash = 0;
    }
}

/* Does a list such as "cpu,cpuacct" name the controller? */
static bool controls_cpu(const char *list)
{
    for (const char *at = list; *at; at += strcspn(at, ",") + (at[strcspn(at, ",")] == ',')) {
        if (strcspn(at, ",") == 3 && strncmp(at, "cpu", 3) == 0)
            return true;
    }
    return false;
}

unsigned cpu_quota_in(const char *sys, const char *group_file)
{
    CLEANUP(free_p) char *text = NULL;
    struct err ignored = ERR_INIT;
    size_t len;
    unsigned least = 0;
    if (io_read_file(group_file, FILE_MAX, &text, &len, &ignored) < 0)
        return 0;
    /* Lines "ID:CONTROLLERS:PATH"; version 2 is the one with id 0 and no controllers. */
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
        if (!path)
            continue;
        *list++ = *path++ = 0;
        bool v2 = !*list;
        if (!v2 && !controls_cpu(list))
            continue;
        CLEANUP(free_p) char *mount = v2 ? xasprintf("%s/fs/cgroup", sys) : xasprintf("%s/fs/cgroup/%s", sys, list);
        unsigned quota = least_quota(mount, path, v2);
        if (quota && (!least || quota < least))
            least = quota;
    }
    return least;
}

unsigned cpu_cores(void)
{
    cpu_set_t set;
    int cpus[CPU_SETSIZE];
    unsigned n = 0;
    if (sched_getaffinity(0, sizeof set, &set) < 0)
        return 1;
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &set))
            cpus[n++] = i;
    unsigned cores = cpu_cores_in("/sys", cpus, n), quota = cpu_quota_in("/sys", "/proc/self/cgroup");
    return quota && quota < cores ? quota : cores;
}
